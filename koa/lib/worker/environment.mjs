// Replaces the environment of this thread with an empty object: the generated code reads a
// variable of it at each step, and reading the real one is slow. Imported before that code.

process.env = {};
