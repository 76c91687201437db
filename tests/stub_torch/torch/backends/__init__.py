from torch._emulated import SETTINGS


class cudnn:
    enabled = True
    allow_tf32 = True

    @staticmethod
    def version():
        return SETTINGS["cudnn"]


class cuda:
    class matmul:
        allow_tf32 = False
