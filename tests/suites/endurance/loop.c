/* Runs a program again and again, as fast as it goes, until the file STOP is there.
 * How often it ran and how often that failed stands in COUNT, as two numbers of 64
 * bits, at every instant. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    char *none[] = {NULL}, *program[] = {argv[3], NULL};
    uint64_t counted[2] = {0, 0};
    int count = open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    while (access(argv[1], F_OK) != 0) {
        pid_t child;
        int status = 0, error = posix_spawn(&child, program[0], NULL, NULL, program, none);
        if (error == 0 && waitpid(child, &status, 0) != child)
            error = errno;
        counted[0]++;
        if (error != 0 || status != 0) {
            counted[1]++;
            fprintf(stderr, "run %lu: %s, status %#x\n", (unsigned long)counted[0],
                    strerror(error), status);
        }
        if (pwrite(count, counted, sizeof counted, 0) != sizeof counted)
            return 3;
    }
    return 0;
}
