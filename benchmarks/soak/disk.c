/* A disk that fails and a wall clock that steps, for a process that loads this before the C library (LD_PRELOAD).

   What is wrong stands in a small file that both processes have mapped; only files of the state folder are touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct faults {
  volatile int write_error, torn_bytes, sync_error, truncate_error, open_error;
  volatile int unused;
  volatile long clock_seconds;
};

static struct faults none, *faults = &none;
static const char *folder = "";

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("SOAK_FAULTS"), *state = getenv("SOAK_STATE");
  int file = path && state ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return;
  faults = mapped;
  folder = state;
}

static int is_state(int file) {
  char name[64], path[4096];
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  ssize_t length = readlink(name, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strncmp(path, folder, strlen(folder)) == 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(number) do { errno = (number); return -1; } while (0)

ssize_t write(int file, const void *data, size_t size) {
  REAL(write);
  if (!faults->write_error || !is_state(file)) return real(file, data, size);
  size_t torn = faults->torn_bytes;
  if (torn && real(file, data, torn < size ? torn : size) < 0) return -1;
  FAIL(faults->write_error);
}

int fdatasync(int file) {
  REAL(fdatasync);
  if (faults->sync_error && is_state(file)) FAIL(faults->sync_error);
  return real(file);
}

int fsync(int file) {
  REAL(fsync);
  if (faults->sync_error && is_state(file)) FAIL(faults->sync_error);
  return real(file);
}

static int truncated(int file, off_t size) {
  REAL(ftruncate64);
  if (faults->truncate_error && is_state(file)) FAIL(faults->truncate_error);
  return real(file, size);
}

int ftruncate(int file, off_t size) { return truncated(file, size); }
int ftruncate64(int file, off_t size) { return truncated(file, size); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  REAL(clock_gettime);
  int result = real(clock, time);
  if (clock == CLOCK_REALTIME) time->tv_sec += faults->clock_seconds;
  return result;
}
