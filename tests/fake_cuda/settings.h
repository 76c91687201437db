/* Reads key=value lines; no value is cached, so that a test can change the file while a process runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *setting(const char *key, const char *otherwise, char *buffer, size_t size) {
    const char *path = getenv("FAKE_GPU");
    FILE *file = fopen(path && *path ? path : "/etc/fake-gpu.conf", "r");
    char line[512];
    size_t length = strlen(key);
    snprintf(buffer, size, "%s", otherwise);
    if (!file) return buffer;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            snprintf(buffer, size, "%s", line + length + 1);
        }
    }
    fclose(file);
    return buffer;
}

static long number(const char *key, long otherwise) {
    char buffer[512];
    setting(key, "", buffer, sizeof buffer);
    return *buffer ? strtol(buffer, NULL, 0) : otherwise;
}

/* Hangs or dies where the file says so. */
static void enter(const char *function) {
    char buffer[512];
    if (strcmp(setting("hang", "", buffer, sizeof buffer), function) == 0) {
        for (;;) pause();
    }
    if (strcmp(setting("crash", "", buffer, sizeof buffer), function) == 0) {
        *(volatile int *)0 = 1;
    }
}

/* Whether a crash or hang is meant for the GPU of that index: crashOf names one, without it all are meant. */
__attribute__((unused)) static int concerned(long index) {
    long only = number("crashOf", -1);
    return only < 0 || only == index;
}

/* Last two hexadecimal digits tell the GPUs apart. */
static void uuid_bytes(int index, unsigned char *bytes) {
    for (int i = 0; i < 16; i++) bytes[i] = (unsigned char)(0x10 + i);
    bytes[15] = (unsigned char)index;
}
