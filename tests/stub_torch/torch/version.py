from torch._emulated import SETTINGS

cuda = SETTINGS["cuda"]
git_version = SETTINGS["git_version"]
