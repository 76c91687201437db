/* A libcuda.so.1 with the functions that the probe and torch call before they create a context.
 * Signatures and numbers are those of cuda.h of CUDA 12.8. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "settings.h"

#define CUDA_ERROR_INVALID_VALUE 1
#define CUDA_ERROR_NOT_INITIALIZED 3
#define CUDA_ERROR_INVALID_DEVICE 101
#define CUDA_ERROR_NOT_FOUND 500

static int initialised;

int cuInit(unsigned flags) {
    (void)flags;
    enter("cuInit");
    int result = (int)number("cuInit", 0);
    initialised = result == 0;
    return result;
}

int cuDriverGetVersion(int *version) {
    *version = (int)number("cudaVersion", 12080);
    return 0;
}

int cuDeviceGetCount(int *count) {
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    *count = (int)number("count", 1);
    return (int)number("cuDeviceGetCount", 0);
}

int cuDeviceGet(int *device, int ordinal) {
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= number("count", 1)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    char base[512], mig[512];
    (void)device;
    setting("name", "NVIDIA A100-SXM4-80GB", base, sizeof base);
    setting("mig", "", mig, sizeof mig);
    snprintf(name, (size_t)length, *mig ? "%s MIG %s" : "%s%s", base, mig);
    return 0;
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    uuid_bytes(device, uuid);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char buffer[512];
    int major = 8, minor = 0;
    (void)device;
    sscanf(setting("capability", "8.0", buffer, sizeof buffer), "%d.%d", &major, &minor);
    *value = attribute == 75 ? major : attribute == 76 ? minor : 0;
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = (size_t)number("memoryMiB", 81920) << 20;
    return 0;
}

int cuGetErrorString(int error, const char **text) {
    static char buffer[64];
    snprintf(buffer, sizeof buffer, "fake error %d", error);
    *text = buffer;
    return 0;
}

/* The CUDA runtime looks up every driver function here. Functions that this file lacks are reported as not found. */
int cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags, int *status) {
    char name[128];
    (void)version;
    (void)flags;
    *function = dlsym(RTLD_DEFAULT, symbol);
    if (!*function) {
        snprintf(name, sizeof name, "%s_v2", symbol);
        *function = dlsym(RTLD_DEFAULT, name);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? 0 : CUDA_ERROR_NOT_FOUND;
}

int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

int cuGetExportTable(const void **table, const void *id) {
    (void)id;
    *table = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}
