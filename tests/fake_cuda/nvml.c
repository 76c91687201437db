/* A libnvidia-ml.so.1 with the functions that the probe calls.
 * Signatures and numbers are those of nvml.h of CUDA 12.8. */
#include "settings.h"

#define NVML_ERROR_INVALID_ARGUMENT 2
#define NVML_ERROR_NOT_SUPPORTED 3
#define NVML_ERROR_NOT_FOUND 6

typedef struct { long index; } device;
static device devices[16];

#define ENTER(function)                              \
    do {                                             \
        enter(#function);                            \
        int refused = (int)number(#function, 0);     \
        if (refused) return refused;                 \
    } while (0)

/* Defines a function that gives one number. The default is the value of a healthy A100. */
#define VALUE(function, type, otherwise)                                  \
    int function(device *handle, type *value) {                           \
        (void)handle;                                                     \
        ENTER(function);                                                  \
        *value = (type)number("value." #function, otherwise);             \
        return 0;                                                         \
    }

#define UNSUPPORTED(function)                                             \
    int function(void) {                                                  \
        ENTER(function);                                                  \
        return NVML_ERROR_NOT_SUPPORTED;                                  \
    }

static int text(const char *key, const char *otherwise, char *buffer, unsigned length) {
    char found[512];
    snprintf(buffer, length, "%s", setting(key, otherwise, found, sizeof found));
    return 0;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    enter("nvmlInit");
    return (int)number("nvmlInit", 0);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return 0; }

const char *nvmlErrorString(int error) {
    static char buffer[64];
    snprintf(buffer, sizeof buffer, "fake NVML error %d", error);
    return buffer;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ENTER(nvmlSystemGetDriverVersion);
    return text("driver", "570.172.08", version, length);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER(nvmlSystemGetCudaDriverVersion_v2);
    *version = (int)number("cudaVersion", 12080);
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    ENTER(nvmlDeviceGetCount_v2);
    *count = (unsigned)number("count", 1);
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) {
    ENTER(nvmlDeviceGetHandleByIndex_v2);
    if ((long)index >= number("count", 1)) return NVML_ERROR_INVALID_ARGUMENT;
    devices[index].index = index;
    *handle = &devices[index];
    return 0;
}

static void uuid_text(long index, char *buffer, unsigned length) {
    char mig[64];
    unsigned char b[16];
    uuid_bytes((int)index, b);
    snprintf(buffer, length, "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             *setting("mig", "", mig, sizeof mig) ? "MIG" : "GPU", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
             b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **handle) {
    char own[80];
    ENTER(nvmlDeviceGetHandleByUUID);
    for (long index = 0; index < number("count", 1); index++) {
        uuid_text(index, own, sizeof own);
        if (strcmp(own, uuid) == 0) {
            devices[index].index = index;
            *handle = &devices[index];
            return 0;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

int nvmlDeviceGetUUID(device *handle, char *uuid, unsigned length) {
    ENTER(nvmlDeviceGetUUID);
    uuid_text(handle->index, uuid, length);
    return 0;
}

int nvmlDeviceGetName(device *handle, char *name, unsigned length) {
    char base[200], mig[64];
    (void)handle;
    ENTER(nvmlDeviceGetName);
    text("name", "NVIDIA A100-SXM4-80GB", base, sizeof base);
    setting("mig", "", mig, sizeof mig);
    snprintf(name, length, *mig ? "%s MIG %s" : "%s%s", base, mig);
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(device *handle, int *major, int *minor) {
    char buffer[64];
    (void)handle;
    ENTER(nvmlDeviceGetCudaComputeCapability);
    *major = 8, *minor = 0;
    sscanf(setting("capability", "8.0", buffer, sizeof buffer), "%d.%d", major, minor);
    return 0;
}

typedef struct { unsigned long long total, free, used; } memory;

int nvmlDeviceGetMemoryInfo(device *handle, memory *info) {
    (void)handle;
    ENTER(nvmlDeviceGetMemoryInfo);
    info->total = (unsigned long long)number("memoryMiB", 81920) << 20;
    info->used = (unsigned long long)number("usedMiB", 512) << 20;
    info->free = info->total - info->used;
    return 0;
}

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} pci_info;

int nvmlDeviceGetPciInfo_v3(device *handle, pci_info *info) {
    ENTER(nvmlDeviceGetPciInfo_v3);
    memset(info, 0, sizeof *info);
    snprintf(info->busId, sizeof info->busId, "00000000:%02lX:00.0", 0x10 + handle->index);
    return 0;
}

int nvmlDeviceIsMigDeviceHandle(device *handle, unsigned *is) {
    char mig[64];
    (void)handle;
    *is = *setting("mig", "", mig, sizeof mig) != 0;
    return 0;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device *mig, device **whole) {
    *whole = mig;
    return 0;
}

int nvmlDeviceGetMigMode(device *handle, unsigned *current, unsigned *pending) {
    (void)handle;
    ENTER(nvmlDeviceGetMigMode);
    *current = *pending = (unsigned)number("value.nvmlDeviceGetMigMode", 0);
    return 0;
}

int nvmlDeviceGetEccMode(device *handle, unsigned *current, unsigned *pending) {
    (void)handle;
    ENTER(nvmlDeviceGetEccMode);
    *current = *pending = (unsigned)number("value.nvmlDeviceGetEccMode", 1);
    return 0;
}

int nvmlDeviceGetTotalEccErrors(device *handle, int kind, int counter, unsigned long long *count) {
    (void)handle;
    ENTER(nvmlDeviceGetTotalEccErrors);
    *count = kind == 1 ? (unsigned long long)number("eccUncorrected", 0) : 0;
    (void)counter;
    return 0;
}

int nvmlDeviceGetRemappedRows(device *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    if (concerned(handle->index)) ENTER(nvmlDeviceGetRemappedRows);
    *corrected = *uncorrected = 0;
    *pending = (unsigned)number("remapPending", 0);
    *failed = (unsigned)number("remapFailed", 0);
    return 0;
}

typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latency;
    int valueType, result;
    unsigned long long value;
} field_value;

int nvmlDeviceGetFieldValues(device *handle, int count, field_value *values) {
    (void)handle;
    ENTER(nvmlDeviceGetFieldValues);
    for (int i = 0; i < count; i++) {
        values[i].result = values[i].fieldId == 230 ? 0 : NVML_ERROR_NOT_SUPPORTED;
        values[i].value = (unsigned long long)number("recoveryAction", 0);
    }
    return 0;
}

typedef struct {
    unsigned version;
    unsigned char cluster[16];
    int status;
    unsigned clique;
    unsigned char state;
    unsigned mask;
} fabric_info;

int nvmlDeviceGetGpuFabricInfoV(device *handle, fabric_info *info) {
    (void)handle;
    ENTER(nvmlDeviceGetGpuFabricInfoV);
    info->state = (unsigned char)number("fabricState", 3);
    info->status = 0;
    info->mask = 0;
    return 0;
}

int nvmlDeviceGetClockInfo(device *handle, int kind, unsigned *clock) {
    (void)handle;
    ENTER(nvmlDeviceGetClockInfo);
    *clock = kind == 1 ? 1155 : 1593;
    return 0;
}

int nvmlDeviceGetMaxClockInfo(device *handle, int kind, unsigned *clock) {
    (void)handle;
    ENTER(nvmlDeviceGetMaxClockInfo);
    *clock = kind == 1 ? 1410 : 1593;
    return 0;
}

int nvmlDeviceGetTemperature(device *handle, int sensor, unsigned *degrees) {
    (void)handle;
    (void)sensor;
    ENTER(nvmlDeviceGetTemperature);
    *degrees = (unsigned)number("value.nvmlDeviceGetTemperature", 34);
    return 0;
}

typedef struct { unsigned gpu, memory; } utilisation;

int nvmlDeviceGetUtilizationRates(device *handle, utilisation *rates) {
    (void)handle;
    ENTER(nvmlDeviceGetUtilizationRates);
    rates->gpu = (unsigned)number("utilisation", 0);
    rates->memory = 0;
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *handle, unsigned *count, void *processes) {
    (void)handle;
    (void)processes;
    ENTER(nvmlDeviceGetComputeRunningProcesses_v3);
    *count = 0;
    return 0;
}

/* nvmlGridLicensableFeatures_t of version 4. */
typedef struct {
    unsigned code, state;
    char info[128], product[128];
    unsigned enabled;
    struct { unsigned year; unsigned short month, day, hour, minute, second; unsigned char status; } expiry;
} grid_feature;

typedef struct {
    int supported;
    unsigned count;
    grid_feature features[3];
} grid_features;

int nvmlDeviceGetGridLicensableFeatures_v4(device *handle, grid_features *found) {
    (void)handle;
    ENTER(nvmlDeviceGetGridLicensableFeatures_v4);
    memset(found, 0, sizeof *found);
    found->supported = 1;
    found->count = 1;
    found->features[0].code = 4;
    found->features[0].state = found->features[0].enabled = (unsigned)number("licensed", 1);
    snprintf(found->features[0].product, sizeof found->features[0].product, "NVIDIA Virtual Compute Server");
    return 0;
}

VALUE(nvmlDeviceGetVirtualizationMode, unsigned, 0)
VALUE(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 1)
VALUE(nvmlDeviceGetPowerUsage, unsigned, 62000)
VALUE(nvmlDeviceGetEnforcedPowerLimit, unsigned, 400000)
VALUE(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, 400000)
VALUE(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 4)
VALUE(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, 4)
VALUE(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 16)
VALUE(nvmlDeviceGetMaxPcieLinkWidth, unsigned, 16)
VALUE(nvmlDeviceGetPcieReplayCounter, unsigned, 0)
VALUE(nvmlDeviceGetComputeMode, int, 0)
VALUE(nvmlDeviceGetPersistenceMode, int, 1)
UNSUPPORTED(nvmlDeviceGetRetiredPagesPendingStatus)
