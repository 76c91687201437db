/* Reads the settings file of key=value lines. Nothing is cached, so that a test can change it while a process runs. */
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

/* Hangs or crashes if the settings file asks for it in this function. */
static void enter(const char *function) {
    char buffer[512];
    if (strcmp(setting("hang", "", buffer, sizeof buffer), function) == 0) {
        for (;;) pause();
    }
    if (strcmp(setting("crash", "", buffer, sizeof buffer), function) == 0) {
        *(volatile int *)0 = 1;
    }
}

/* Returns whether a crash or hang applies to the GPU with that index: crashOf names one GPU, else it applies to all. */
__attribute__((unused)) static int concerned(long index) {
    long only = number("crashOf", -1);
    return only < 0 || only == index;
}

/* Fills in a UUID whose last two hexadecimal digits are the index of the GPU. */
static void uuid_bytes(int index, unsigned char *bytes) {
    for (int i = 0; i < 16; i++) bytes[i] = (unsigned char)(0x10 + i);
    bytes[15] = (unsigned char)index;
}
