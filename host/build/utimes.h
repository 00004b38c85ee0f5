/* Included before SQLite where Debian's wasi-libc of 2022 is. Its `utimes` takes
   no times at all for the first moment of 1970, and a lock that SQLite has just
   renewed would count as one whose owner died long ago. */
#define _GNU_SOURCE
#include <sys/time.h>

static inline int utimes_or_now(const char *path, const struct timeval *times) {
  struct timeval now[2];
  if (!times) {
    gettimeofday(&now[0], 0);
    now[1] = now[0];
    times = now;
  }
  return utimes(path, times);
}

#define utimes utimes_or_now
