"""What an application starts: processes by every way, and what it hears of signals."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)


ticks = threading.Semaphore(0)


def tick():
    while True:
        time.sleep(0.01)
        ticks.release()


threading.Thread(target=tick, daemon=True).start()


def square(number):
    return number * number, os.getpid(), sys.executable


def terminated():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    child.terminate()
    return child.wait(60)


def forked():
    child = os.fork()
    if child == 0:
        os._exit(7)
    return os.WEXITSTATUS(os.waitpid(child, 0)[1])


def application(environ, start_response):
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        result, pid, executable = pool.submit(square, 7).result(60)
    with open("/proc/thread-self/status") as status:
        blocked = next(line.split()[1] for line in status if line.startswith("SigBlk:"))
    chosen = multiprocessing.get_context("fork").Process(target=square, args=(1,))
    chosen.start()
    chosen.join(60)
    seen = {
        "default": multiprocessing.get_start_method(),
        "square": result,
        "elsewhere": pid != os.getpid(),
        "executable": executable == sys.executable,
        "terminated": terminated(),
        "run": subprocess.run(["echo", "hello"], stdout=subprocess.PIPE).stdout.decode(),
        "blocked": int(blocked, 16),
        "forked": forked(),
        "chosen": chosen.exitcode,
        "ticking": sum(ticks.acquire(timeout=60) for _ in range(100)),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
