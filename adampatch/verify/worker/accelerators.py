"""What GPUs there are, as a report names them: kind, compute capability, driver, libraries.

Asks the TensorFlow that it is given; Python 3.7.
"""

import contextlib
import re

_DRIVER = "/proc/driver/nvidia/version"


def described(tf):
    """{"GPU:0": "NVIDIA H200, compute capability 9.0", "driver": "550.54", "cuda": ..., "cudnn": ...}; what
    neither TensorFlow nor the system tells is left out, and all of it without a GPU."""
    config = tf.config if hasattr(tf.config, "list_physical_devices") else tf.config.experimental
    found = {
        "GPU:{}".format(number): _device(tf, device)
        for number, device in enumerate(config.list_physical_devices("GPU"))
    }
    if not found:
        return {}
    with contextlib.suppress(OSError):
        with open(_DRIVER) as stream:
            version = re.search(r"\d+\.\d+(\.\d+)?", stream.readline())
        if version:
            found["driver"] = version.group()
    with contextlib.suppress(AttributeError, KeyError):  # not before TensorFlow 2.3
        build = tf.sysconfig.get_build_info()
        found.update([(name, str(build[name + "_version"])) for name in ("cuda", "cudnn")])
    return found


def _device(tf, device):
    try:
        details = tf.config.experimental.get_device_details(device)
    except AttributeError:  # not before TensorFlow 2.4
        return "a GPU"
    words = [str(details.get("device_name", "a GPU"))]
    if "compute_capability" in details:
        words.append("compute capability " + ".".join(map(str, details["compute_capability"])))
    return ", ".join(words)
