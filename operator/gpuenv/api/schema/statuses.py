"""The schemas of both statuses. `make schemas` makes this module from ``crds/``; nobody edits it."""

from typing import Final

from gpuenv.api.schema.fit import Schema

REPORT: Final[Schema] = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["Compatible", "Degraded", "Incompatible", "Unknown"]},
        "basis": {"type": "string", "maxLength": 64},
        "reason": {"type": "string", "maxLength": 256},
        "message": {"type": "string", "maxLength": 1024},
        "remedies": {
            "type": "array",
            "maxItems": 8,
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "required": ["action", "message"],
                "properties": {
                    "action": {"type": "string", "maxLength": 64, "pattern": "^[A-Z][A-Za-z0-9]*$"},
                    "message": {"type": "string", "maxLength": 1024},
                    "parameters": {
                        "type": "object",
                        "maxProperties": 16,
                        "additionalProperties": {"type": "string", "maxLength": 256},
                    },
                },
            },
        },
        "checks": {
            "type": "array",
            "maxItems": 64,
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "required": ["name", "status"],
                "properties": {
                    "name": {"type": "string", "maxLength": 256},
                    "status": {
                        "type": "string",
                        "enum": ["Pass", "Note", "Warn", "Fail", "Unknown", "Skipped"],
                    },
                    "reason": {"type": "string", "maxLength": 256},
                    "message": {"type": "string", "maxLength": 1024},
                    "remedies": {
                        "type": "array",
                        "maxItems": 8,
                        "x-kubernetes-list-type": "atomic",
                        "items": {
                            "type": "object",
                            "required": ["action", "message"],
                            "properties": {
                                "action": {
                                    "type": "string",
                                    "maxLength": 64,
                                    "pattern": "^[A-Z][A-Za-z0-9]*$",
                                },
                                "message": {"type": "string", "maxLength": 1024},
                                "parameters": {
                                    "type": "object",
                                    "maxProperties": 16,
                                    "additionalProperties": {"type": "string", "maxLength": 256},
                                },
                            },
                        },
                    },
                    "source": {"type": "string", "maxLength": 1024},
                },
            },
        },
        "versions": {
            "type": "object",
            "properties": {
                "driver": {"type": "string", "maxLength": 128},
                "pytorch": {"type": "string", "maxLength": 128},
                "cuda": {"type": "string", "maxLength": 128},
                "cudnn": {"type": "string", "maxLength": 128},
                "nccl": {"type": "string", "maxLength": 128},
                "python": {"type": "string", "maxLength": 128},
            },
        },
        "facts": {
            "type": "object",
            "properties": {
                "container": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "driver": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "torch": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "stages": {
                    "type": "array",
                    "maxItems": 8,
                    "x-kubernetes-list-type": "atomic",
                    "items": {"type": "string", "maxLength": 64},
                },
                "ended": {"type": "string", "maxLength": 4096},
                "omitted": {
                    "type": "array",
                    "maxItems": 64,
                    "x-kubernetes-list-type": "atomic",
                    "items": {"type": "string", "maxLength": 256},
                },
            },
        },
        "gpus": {
            "type": "array",
            "maxItems": 4096,
            "x-kubernetes-list-type": "atomic",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "steps": {
            "type": "array",
            "maxItems": 4096,
            "x-kubernetes-list-type": "atomic",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "commands": {
            "type": "array",
            "maxItems": 4096,
            "x-kubernetes-list-type": "atomic",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "benchmarks": {
            "type": "array",
            "maxItems": 4096,
            "x-kubernetes-list-type": "atomic",
            "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
        "image": {
            "type": "object",
            "properties": {
                "digest": {"type": "string", "maxLength": 1024},
                "platform": {"type": "string", "maxLength": 256},
            },
        },
        "validationTime": {"type": "string", "format": "date-time"},
        "environmentGeneration": {"type": "integer", "format": "int64"},
        "observedRevalidate": {"type": "string", "maxLength": 4096},
        "lastResult": {
            "type": "object",
            "properties": {
                "verdict": {"type": "string", "enum": ["Compatible", "Degraded", "Incompatible", "Unknown"]},
                "reason": {"type": "string", "maxLength": 256},
                "message": {"type": "string", "maxLength": 1024},
            },
        },
        "lastAttempt": {
            "type": "object",
            "properties": {
                "time": {"type": "string", "format": "date-time"},
                "count": {"type": "integer", "format": "int64"},
                "reason": {"type": "string", "maxLength": 256},
                "message": {"type": "string", "maxLength": 1024},
            },
        },
        "internal": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "podCheck": {
                    "type": "object",
                    "required": ["name", "status"],
                    "properties": {
                        "name": {"type": "string", "maxLength": 256},
                        "status": {
                            "type": "string",
                            "enum": ["Pass", "Note", "Warn", "Fail", "Unknown", "Skipped"],
                        },
                        "reason": {"type": "string", "maxLength": 256},
                        "message": {"type": "string", "maxLength": 1024},
                        "remedies": {
                            "type": "array",
                            "maxItems": 8,
                            "x-kubernetes-list-type": "atomic",
                            "items": {
                                "type": "object",
                                "required": ["action", "message"],
                                "properties": {
                                    "action": {
                                        "type": "string",
                                        "maxLength": 64,
                                        "pattern": "^[A-Z][A-Za-z0-9]*$",
                                    },
                                    "message": {"type": "string", "maxLength": 1024},
                                    "parameters": {
                                        "type": "object",
                                        "maxProperties": 16,
                                        "additionalProperties": {"type": "string", "maxLength": 256},
                                    },
                                },
                            },
                        },
                        "source": {"type": "string", "maxLength": 1024},
                    },
                },
                "attempt": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {
                        "remedies": {
                            "type": "array",
                            "maxItems": 8,
                            "x-kubernetes-list-type": "atomic",
                            "items": {
                                "type": "object",
                                "required": ["action", "message"],
                                "properties": {
                                    "action": {
                                        "type": "string",
                                        "maxLength": 64,
                                        "pattern": "^[A-Z][A-Za-z0-9]*$",
                                    },
                                    "message": {"type": "string", "maxLength": 1024},
                                    "parameters": {
                                        "type": "object",
                                        "maxProperties": 16,
                                        "additionalProperties": {"type": "string", "maxLength": 256},
                                    },
                                },
                            },
                        }
                    },
                },
            },
        },
        "conditions": {
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": {"type": "string", "maxLength": 316},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "message": {"type": "string", "maxLength": 1024},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                },
            },
        },
    },
}
ENVIRONMENT: Final[Schema] = {
    "type": "object",
    "properties": {
        "observedGeneration": {"type": "integer", "format": "int64"},
        "conditions": {
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": {"type": "string", "maxLength": 316},
                    "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "message": {"type": "string", "maxLength": 2048},
                    "lastTransitionTime": {"type": "string", "format": "date-time"},
                    "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                },
            },
        },
        "summary": {
            "type": "object",
            "properties": {
                "selected": {"type": "integer", "format": "int32"},
                "compatible": {"type": "integer", "format": "int32"},
                "degraded": {"type": "integer", "format": "int32"},
                "incompatible": {"type": "integer", "format": "int32"},
                "unknown": {"type": "integer", "format": "int32"},
                "running": {"type": "integer", "format": "int32"},
                "waiting": {"type": "integer", "format": "int32"},
            },
        },
        "image": {
            "type": "object",
            "properties": {
                "requested": {"type": "string", "maxLength": 512},
                "digests": {
                    "type": "array",
                    "maxItems": 64,
                    "x-kubernetes-list-type": "atomic",
                    "items": {
                        "type": "object",
                        "properties": {
                            "digest": {"type": "string", "maxLength": 1024},
                            "platform": {"type": "string", "maxLength": 256},
                            "nodeCount": {"type": "integer", "format": "int32"},
                        },
                    },
                },
            },
        },
        "problems": {
            "type": "array",
            "maxItems": 50,
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "required": ["reason"],
                "properties": {
                    "reason": {"type": "string", "maxLength": 256},
                    "verdict": {
                        "type": "string",
                        "enum": ["Compatible", "Degraded", "Incompatible", "Unknown"],
                    },
                    "nodeCount": {"type": "integer", "format": "int32"},
                    "nodes": {
                        "type": "array",
                        "maxItems": 20,
                        "x-kubernetes-list-type": "atomic",
                        "items": {"type": "string", "maxLength": 253},
                    },
                    "message": {"type": "string", "maxLength": 1024},
                    "remedies": {
                        "type": "array",
                        "maxItems": 8,
                        "x-kubernetes-list-type": "atomic",
                        "items": {
                            "type": "object",
                            "required": ["action", "message"],
                            "properties": {
                                "action": {
                                    "type": "string",
                                    "maxLength": 64,
                                    "pattern": "^[A-Z][A-Za-z0-9]*$",
                                },
                                "message": {"type": "string", "maxLength": 1024},
                                "parameters": {
                                    "type": "object",
                                    "maxProperties": 16,
                                    "additionalProperties": {"type": "string", "maxLength": 256},
                                },
                            },
                        },
                    },
                },
            },
        },
        "placement": {
            "type": "object",
            "properties": {
                "require": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "tolerant": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "avoid": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "massChange": {
            "type": "object",
            "required": ["id", "nodeCount", "message"],
            "properties": {
                "id": {"type": "string", "maxLength": 64},
                "nodeCount": {"type": "integer", "format": "int32"},
                "nodes": {
                    "type": "array",
                    "maxItems": 20,
                    "x-kubernetes-list-type": "atomic",
                    "items": {"type": "string", "maxLength": 253},
                },
                "message": {"type": "string", "maxLength": 1024},
            },
        },
        "observedRevalidate": {"type": "string", "maxLength": 4096},
        "internal": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
