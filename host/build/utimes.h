/* Included before SQLite where Debian's wasi-libc of 2022 is. Its `utimes` and
   `utimensat` take no times at all for the first moment of 1970, and refuse
   `UTIME_NOW`: a lock that SQLite has just renewed would count as one whose
   owner died long ago. It keeps the time at which it was made instead. */
#define _GNU_SOURCE
#include <sys/time.h>

static inline int utimes_if_any(const char *path, const struct timeval *times) {
  return times ? utimes(path, times) : 0;
}

#define utimes utimes_if_any
