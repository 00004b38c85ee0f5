// Empties the environment of this thread: the generated code reads a variable of it at
// each step, and the real one is slow. Imported before that code.

process.env = {};
