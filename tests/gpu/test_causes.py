"""Each cause of a GPU that does not work, from the texts that torch, CUDA and nvidia-smi print."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mnist_cli.gpu import archs
from mnist_cli.gpu.advice import ROWS, row_for
from mnist_cli.gpu.nvidia import Card, Driver
from mnist_cli.gpu.obstacle import Build, Cause, Evidence, GpuObstacle
from mnist_cli.gpu.words import describe, explain

CUDA_13 = Build(
    "2.14.1+cu130", cuda="13.0", archs=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
)
CPU_BUILD = Build("2.14.1+cpu")
ROCM = Build("2.14.1+rocm7.0", hip="7.0", archs=("gfx90a", "gfx942"))

NODES = ("/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl")
H100 = Card("NVIDIA H100", "1", "81559", "Default", "GPU-00000000-1111-2222-3333-444444444444")
GOOD = Driver("580.65.06", "13.0", cards=1, nodes=NODES, table=(H100,))
NO_SMI = replace(GOOD, table=())

NOTHING = "No CUDA GPUs are available"
NOT_FOUND = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed "
    "a driver from http://www.nvidia.com/Download/index.aspx"
)
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version {}). Please update your GPU driver "
    "by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to "
    "install a PyTorch version that has been compiled with your version of the CUDA driver."
)
UNEXPECTED = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
    "NumCudaDevices() that might have already set an error? Error {}"
)
INITIALIZATION = "CUDA driver initialization failed, you might not have a CUDA gpu."
UNKNOWN = (
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env "
    "variable CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero."
)
MISMATCH = (
    "Failed to initialize NVML: Driver/library version mismatch NVML library version: 570.133"
)
PERMISSIONS = "Failed to initialize NVML: Insufficient Permissions"
NOT_LOADED = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that "
    "the latest NVIDIA driver is installed and running."
)
PTX = "CUDA error: the provided PTX was compiled with an unsupported toolchain."
ILLEGAL = "CUDA error: an illegal memory access was encountered"
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
UUID = "GPU-5f3b1d0e-7c1a-4f0e-9f5b-2d8f4b0c1a2e"
NO_IMAGE = "CUDA error: no kernel image is available for execution on the device"
FORKED = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must "
    "use the 'spawn' start method"
)


def at(answer: str, driver: Driver = GOOD, build: Build = CUDA_13, **more: object) -> Evidence:
    return Evidence(build, answer, driver, **more)  # type: ignore[arg-type]


CARD = {"index": 0, "name": "NVIDIA GeForce GTX 1080"}

CASES: dict[str, tuple[Evidence, Cause, list[str]]] = {
    "CPU build": (at("Torch not compiled with CUDA enabled", build=CPU_BUILD),
                  Cause.CPU_BUILD, ["2.14.1+cpu", "torch build with CUDA; https://pytorch.org/get-started/locally shows"]),
    "CPU build without a GPU": (at("", Driver(cards=0), CPU_BUILD),
                                Cause.CPU_BUILD, ["no NVIDIA GPU", "Without a GPU, device auto trains on the CPU."]),
    "CPU build on a Mac": (at("", Driver(), CPU_BUILD, system="Darwin"),
                           Cause.CPU_BUILD, ["not available on macOS", "device mps"]),
    "ROCm": (at(NOTHING, Driver(cards=0), ROCM),
             Cause.ROCM_WITHOUT_GPU, ["ROCm 7.0", "rocminfo", "render"]),
    "a ROCm GPU that fails": (at("HIP error: out of memory", build=ROCM, index=0),
                              Cause.OUT_OF_MEMORY, ["the memory of cuda:0 is full"]),
    "nothing at all": (at(NOT_FOUND, Driver(cards=0)),
                       Cause.NO_GPU, ["no NVIDIA GPU", "device auto trains on the CPU", "docker run --gpus all"]),
    "Windows without a driver": (at(NOT_FOUND, Driver(), system="Windows"),
                                 Cause.NO_GPU, ["no NVIDIA driver was found", "580"]),
    "a card without a driver": (at(NOT_FOUND, Driver(cards=1)),
                                Cause.NO_DRIVER, ["has an NVIDIA GPU, but no", "version 580 or newer"]),
    "an installed driver that is not loaded": (
        at(NOTHING, Driver(cards=1, complaint=NOT_LOADED)), Cause.NO_DRIVER,
        ["installed but not loaded. Restart.", "sudo modprobe nvidia", "Secure Boot"]),
    "an installed driver, a bus that cannot be read": (
        at(NOT_FOUND, Driver(complaint=NOT_LOADED)), Cause.NO_DRIVER, ["installed but not loaded"]),
    "a driver of Windows that is not loaded": (
        at(NOTHING, Driver(complaint=NOT_LOADED), system="Windows"),
        Cause.NO_DRIVER, ["installed but not loaded", "reinstall the driver"]),
    "WSL": (at(NOT_FOUND, Driver(wsl=True)), Cause.NO_GPU,
            ["In WSL, install the NVIDIA driver on Windows, not inside WSL", "wsl --shutdown"]),
    "WSL with the library of Windows": (
        at(NOTHING, Driver(wsl=True, nodes=("/dev/dxg",), complaint=NOT_LOADED)),
        Cause.NO_DRIVER, ["on Windows, not inside WSL"]),
    "a container without devices": (at(NOTHING, Driver("550.54.15", cards=1)),
                                    Cause.NOT_PASSED_ON, ["550.54.15", "no /dev/nvidia*", "--gpus all", "Outside a container, run `sudo nvidia-smi` once."]),
    "a container without the library": (at(NOT_FOUND, GOOD),
                                        Cause.NOT_PASSED_ON,
                                        ["libcuda.so.1", "Outside a container, reinstall the driver.",
                                         "-e NVIDIA_DRIVER_CAPABILITIES=compute,utility"]),
    "WSL without the library": (
        at(NOT_FOUND, replace(GOOD, wsl=True)), Cause.NOT_PASSED_ON,
        ["on Windows, not inside WSL", "-e NVIDIA_DRIVER_CAPABILITIES"]),
    "a stub of the library": (at(UNEXPECTED.format("34: CUDA driver is a stub library")),
                              Cause.NOT_PASSED_ON, ["libcuda.so.1"]),
    "driver of CUDA 11": (at(TOO_OLD.format(11040), Driver("470.82.01", nodes=NODES)),
                          Cause.DRIVER_TOO_OLD,
                          ["driver 470.82.01 is too old for CUDA 13.0 (it supports CUDA 11.4)",
                           "Update the driver to version 580 or newer."]),
    "driver of CUDA 12": (at(TOO_OLD.format(12040), Driver("550.54.15", nodes=NODES)),
                          Cause.DRIVER_TOO_OLD,
                          ["it supports CUDA 12.4", "or install a torch build for CUDA 12"]),
    "driver too old for 12": (at(TOO_OLD.format(11040), build=replace(CUDA_13, cuda="12.8")),
                              Cause.DRIVER_TOO_OLD, ["CUDA 12.8", "version 525 or newer"]),
    "driver of an older 12": (at(TOO_OLD.format(12000), build=replace(CUDA_13, cuda="12.8")),
                              Cause.DRIVER_TOO_OLD, ["Update the driver to version 525 or newer."]),
    "PTX of a newer CUDA": (at(PTX, replace(GOOD, version="535.183.01", cuda="12.2"),
                               replace(CUDA_13, cuda="12.8"), **CARD),
                            Cause.DRIVER_TOO_OLD,
                            ["535.183.01 is too old for the PTX of CUDA 12.8 (it supports CUDA 12.2)",
                             'supports CUDA 12.8 or newer (see "CUDA Version" in `nvidia-smi`).']),
    "PTX, and an older build exists": (at(PTX, replace(GOOD, cuda="12.6"),
                                          replace(CUDA_13, cuda="12.8"), **CARD),
                                       Cause.DRIVER_TOO_OLD,
                                       ["or install a torch build for CUDA 12.6 or older"]),
    "an update without a restart": (at(UNEXPECTED.format("804: forward compatibility was attempted "
                                                         "on non supported HW"),
                                       replace(NO_SMI, complaint=MISMATCH)),
                                    Cause.DRIVER_MISMATCH, ["do not match", "Restart the machine"]),
    "mismatch 803": (at(UNEXPECTED.format("803: system has unsupported display driver / cuda driver "
                                          "combination")),
                     Cause.DRIVER_MISMATCH, ["Restart the machine"]),
    "mismatch with 'unknown error'": (at(UNKNOWN, replace(NO_SMI, complaint=MISMATCH)),
                                      Cause.DRIVER_MISMATCH, ["Restart the machine"]),
    "cuda-compat": (at(UNEXPECTED.format("804: forward compatibility was attempted on non supported "
                                         "HW")),
                    Cause.FORWARD_COMPATIBILITY, ["cuda-compat", "LD_LIBRARY_PATH"]),
    "hidden by nothing": (at(NOTHING, visible=""),
                          Cause.HIDDEN, ["CUDA_VISIBLE_DEVICES=''", "Unset", "UUID that `nvidia-smi -L` prints (GPU-…)"]),
    "hidden by -1": (at(NOTHING, visible="-1"), Cause.HIDDEN, ["CUDA_VISIBLE_DEVICES='-1'"]),
    "hidden by an index that is not there": (at(NOTHING, replace(GOOD, table=(H100,) * 4), visible="4"),
                                             Cause.HIDDEN, ["CUDA_VISIBLE_DEVICES='4'"]),
    "hidden by a word": (at(NOTHING, NO_SMI, visible="NoDevFiles"), Cause.HIDDEN, ["NoDevFiles"]),
    "hidden by another machine's UUID": (at(NOTHING, visible=UUID), Cause.HIDDEN, [UUID]),
    "a UUID that is there": (
        at(NOTHING, replace(GOOD, table=(replace(H100, uuid=UUID),)), visible=UUID[:12]),
        Cause.NONE_SHOWN, ["shows no GPU", "mig -cgi"]),
    "an index, without nvidia-smi": (
        at(NOTHING, NO_SMI, visible="0"), Cause.NONE_SHOWN,
        ["torch finds no GPU with CUDA_VISIBLE_DEVICES='0'",
         "Run `nvidia-smi -L`. If it lists a GPU, unset CUDA_VISIBLE_DEVICES."]),
    "an index that CUDA refuses, without nvidia-smi": (
        at(UNEXPECTED.format("101: invalid device ordinal"), NO_SMI, visible="7"),
        Cause.NONE_SHOWN, ["torch finds no GPU with CUDA_VISIBLE_DEVICES='7'"]),
    "a UUID, without nvidia-smi": (at(NOTHING, NO_SMI, visible=UUID), Cause.NONE_SHOWN, [UUID]),
    "an instance of MIG": (at(NOTHING, visible=f"MIG-{UUID[4:]}"), Cause.NONE_SHOWN, ["mig -cgi"]),
    "a visible GPU that may not be opened": (
        at(NOTHING, replace(GOOD, closed=("/dev/nvidia0",)), visible="0"),
        Cause.NO_PERMISSION, ["may not open /dev/nvidia0", "usermod"]),
    "permission": (at(NOTHING, replace(NO_SMI, closed=("/dev/nvidia0", "/dev/nvidiactl"))),
                   Cause.NO_PERMISSION, ["/dev/nvidia0 and /dev/nvidiactl", "ls -l /dev/nvidia*"]),
    "permission by SELinux": (at(NOTHING, replace(NO_SMI, complaint=PERMISSIONS)),
                              Cause.NO_PERMISSION, ["--security-opt=label=disable"]),
    "OS call": (at(UNEXPECTED.format("304: OS call failed or operation not supported on this OS"),
                   replace(NO_SMI, closed=("/dev/nvidia-uvm",))),
                Cause.NO_PERMISSION, ["/dev/nvidia-uvm"]),
    "MIG without an instance": (at(NOTHING), Cause.NONE_SHOWN, ["shows no GPU", "mig -cgi"]),
    "a card of Pascal": (at(NO_IMAGE, capability=(6, 1), **CARD),
                         Cause.CARD_TOO_OLD,
                         ["7.5, 8.0, 8.6, 9.0, 10.0 and 12.0", "GTX 1080, compute capability 6.1",
                          "Install a torch build for CUDA 12.6, the last with sm_50 to sm_70"]),
    "a card of Kepler": (at(NO_IMAGE, capability=(3, 5), **CARD),
                         Cause.CARD_TOO_OLD, ["No supported torch runs on this GPU; use device cpu."]),
    "a card that this build leaves out": (
        at(NO_IMAGE, build=replace(CUDA_13, archs=("sm_80", "sm_120")), capability=(7, 5), **CARD),
        Cause.CARD_TOO_OLD, ["Install a torch build that has sm_75"]),
    "a card of the future": (at(NO_IMAGE, capability=(13, 0), **CARD),
                             Cause.CARD_TOO_NEW, ["for a newer CUDA (12.8 or newer for sm_100 and sm_120)"]),
    "kernels that the build lists": (
        at("CUDA error: named symbol not found", capability=(9, 0), **CARD), Cause.KERNEL_MISSING,
        ["no kernel for NVIDIA GeForce GTX 1080, although the build lists its architecture",
         "Reinstall torch. If the error persists, update the driver."]),
    "full at start": (at("CUDA error: out of memory", replace(GOOD, table=(Card("H100", "81000",
                         "81559", "Default"),)), index=0),
                      Cause.OUT_OF_MEMORY, ["cuda:0 is full (81000 of 81559 MiB in use)", "device cuda:N"]),
    "full when counted": (at(UNEXPECTED.format("2: out of memory")), Cause.OUT_OF_MEMORY, ["nvidia-smi"]),
    "no room for cuBLAS": (at("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling "
                              "`cublasCreate(handle)`", index=0), Cause.OUT_OF_MEMORY, ["cuda:0"]),
    "no start of cuBLAS": (at("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling "
                              "`cublasCreate(handle)`", index=0),
                           Cause.OUT_OF_MEMORY, ["usually because of full memory (1 of 81559 MiB"]),
    "exclusive": (at(BUSY,
                     replace(GOOD, table=(Card("H100", "3", "9", "Exclusive_Process"),)), index=0),
                  Cause.BUSY, ["compute mode Exclusive_Process", "nvidia-smi -c DEFAULT"]),
    "prohibited": (at(BUSY, replace(GOOD, table=(replace(H100, mode="Prohibited"),) * 2), index=1),
                   Cause.BUSY, ["compute mode Prohibited allows no process on cuda:1", "-c DEFAULT"]),
    "busy in another way": (at(BUSY, index=0), Cause.BUSY,
                            ["CUDA reports cuda:0 as busy or unavailable", "MIG mode and faults"]),
    "index": (at("no such GPU: 1", index=1), Cause.NO_SUCH_GPU, ["torch sees only cuda:0", "Use a device in this range"]),
    "index, some hidden": (at("no such GPU: 2", index=2, visible="0,1"),
                           Cause.NO_SUCH_GPU, ["with CUDA_VISIBLE_DEVICES='0,1', torch sees cuda:0 to cuda:1", "unset"]),
    "NVSwitch": (at(UNEXPECTED.format("802: system not yet initialized")),
                 Cause.NOT_INITIALIZED, ["NVSwitch fabric is not", "nvidia-fabricmanager"]),
    "fork": (at(FORKED, index=0), Cause.FORKED, ["spawn"]),
    "fork, no GPU": (at(FORKED, Driver(cards=0)), Cause.NO_GPU, ["no NVIDIA GPU"]),
    "fork, seen by CUDA": (at("CUDA error: initialization error", index=0), Cause.START_FAILED, ["nvidia-smi"]),
    "initialization": (at(INITIALIZATION), Cause.START_FAILED, ["initialization failed", "nvidia_uvm"]),
    "unknown error": (at(UNKNOWN), Cause.START_FAILED, ["e.g. changing env variable CUDA_VISIBLE_DEVICES after program start.",
                                                       "modprobe", "restart"]),
    "off the bus": (at(INITIALIZATION, replace(NO_SMI, complaint="Unable to determine the device "
                       "handle for GPU0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU")),
                    Cause.FAULT, ["GPU is lost", "Xid"]),
    "ECC": (at("CUDA error: uncorrectable ECC error encountered", index=0), Cause.FAULT, ["sudo dmesg | grep Xid` first", "then restart"]),
    "illegal access": (at(ILLEGAL, index=0), Cause.FAULT,
                       ["cuda:0 reports a fault", "may be defective, or the program has a bug."]),
    "launch": (at("CUDA error: unspecified launch failure", index=0), Cause.FAULT, ["a bug"]),
    "wrong result": (at("wrong result: 3 of 16,384 entries of a matrix product", index=1),
                     Cause.WRONG_RESULT, ["cuda:1", "3 of 16,384", "Do not train"]),
    "hangs": (at("no answer within 60 s", index=0), Cause.NO_ANSWER, ["60 s", "nvidia-smi"]),
    "anything else": (at("CUDA error: something new. And more"), Cause.UNKNOWN,
                      ["CUDA error: something new", "dmesg"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_cause_is_recognized_and_says_what_to_do(case: str) -> None:
    evidence, cause, words = CASES[case]
    obstacle = explain(evidence)
    assert obstacle.cause is cause
    check_sentences(obstacle)
    for word in words:
        assert word in f"{obstacle.detail}. {obstacle.next_step}"


@pytest.mark.parametrize(
    ("case", "advice"),
    [
        ("PTX of a newer CUDA", "525"),  # the user has 535
        ("PTX of a newer CUDA", "build for"),  # torch 2.10 is not built for CUDA 12.2
        ("driver of CUDA 11", "build for"),
        ("driver of an older 12", "build for"),
        ("an installed driver that is not loaded", "Install the driver"),
        ("WSL", "nvidia.com/drivers"),
        ("a card of Kepler", "12.6"),
        ("prohibited", "in use"),
        ("busy in another way", "in use"),
        ("ECC", "a bug"),
    ],
)
def test_advice_that_does_not_help_is_not_given(case: str, advice: str) -> None:
    obstacle = explain(CASES[case][0])
    assert advice not in f"{obstacle.detail}. {obstacle.next_step}"


def test_every_row_has_a_case() -> None:
    used = {id(row_for(cause, evidence)) for evidence, cause, _ in CASES.values()}
    rows = [row for row in ROWS if not row.cause.name.startswith("MPS")]  # see test_probe.py
    assert not [row for row in rows if id(row) not in used]


def check_sentences(obstacle: GpuObstacle) -> None:
    assert obstacle.detail
    assert not obstacle.detail.endswith(".")
    assert obstacle.next_step.endswith(".")
    assert obstacle.next_step[0].isupper()
    assert not re.search(
        r"  |index-url|download\.pytorch|None|[{}]", obstacle.detail + obstacle.next_step
    )


@pytest.mark.parametrize("cause", Cause)
def test_a_cause_is_described_without_any_facts(cause: Cause) -> None:
    check_sentences(describe(cause, at("x", Driver(), CPU_BUILD, visible="")))


@pytest.mark.parametrize(
    ("built", "card", "runs"),
    [
        ("sm_80", (8, 0), True),
        ("sm_80", (8, 9), True),  # later minor versions run it
        ("sm_86", (8, 0), False),
        ("sm_90", (10, 0), False),
        ("compute_90", (12, 0), True),  # PTX is compiled for anything newer
        ("compute_90", (8, 9), False),
        ("sm_90a", (9, 0), True),
        ("sm_90a", (9, 1), False),
        ("sm_100f", (10, 3), True),
        ("gfx90a", (9, 0), False),
    ],
)
def test_which_card_runs_which_architecture(built: str, card: tuple[int, int], runs: bool) -> None:
    assert archs.supports([built], card) is runs
