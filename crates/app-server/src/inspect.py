# Says what this Python is, as one line of JSON. Runs under any Python from 2.7 on: an old one must be able to say its age.
import json
import sys

def inspect():
    import platform
    import sysconfig

    variable = sysconfig.get_config_var
    return {
        "executable": sys.executable,
        "implementation": platform.python_implementation(),
        "version": list(sys.version_info[:3]),
        "prefix": sys.prefix,
        "base_prefix": getattr(sys, "base_prefix", sys.prefix),
        "free_threaded": bool(variable("Py_GIL_DISABLED")),
        "library_dir": variable("LIBDIR"),
        "library_names": [name for name in (variable("INSTSONAME"), variable("LDLIBRARY")) if name],
        "multiarch": variable("MULTIARCH"),
    }

print(json.dumps(inspect()))
