"""Confining a process, and ending one with everything it started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit import cgroups, processes, sandbox

NO_BWRAP = pytest.mark.skipif(bool(sandbox.fault()), reason=sandbox.fault() or "-")


def ran(code: str, folder: Path, *, mode: str = "auto", reach: sandbox.Reach | None = None) -> tuple[int, str]:
    """The exit status and the output of a piece of Python."""
    process = sandbox.start(
        [sys.executable, "-c", code],
        mode=mode,
        reach=reach or sandbox.Reach(write=(folder,)),
        folder=folder,
        environment={"PATH": os.environ["PATH"]},
        streams=sandbox.Streams(stdout=subprocess.PIPE, stderr=subprocess.STDOUT),
        hostname="tests",
    )
    output, _ = process.communicate(timeout=60)
    return sandbox.exit_status(process.returncode), output.decode()


def test_the_command_names_what_may_be_seen_and_hides_the_rest(tmp_path: Path) -> None:
    reach = sandbox.Reach(read=(Path("/srv/base"),), write=(tmp_path,), devices=(Path("/dev/nvidia0"),))
    words = sandbox.command(["train", "it"], reach=reach, folder=tmp_path, hostname="trainer")
    text = " ".join(words)
    for part in ("--unshare-net", "--unshare-pid", "--die-with-parent", "--new-session", "--cap-drop ALL"):
        assert part in text
    assert "--ro-bind-try /srv/base /srv/base" in text
    assert f"--bind {tmp_path} {tmp_path}" in text
    assert "--dev-bind-try /dev/nvidia0 /dev/nvidia0" in text
    assert text.endswith(f"--remount-ro / --chdir {tmp_path} -- train it")
    assert not any(word in words for word in ("/etc", "/home", "/var", "/run"))


def test_the_files_behind_the_links_of_a_folder_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "snapshot" / "model").symlink_to(tmp_path / "blob")
    reach = sandbox.Reach(read=(tmp_path / "snapshot",))
    assert str(tmp_path / "blob") in sandbox.command(["x"], reach=reach, folder=tmp_path, hostname="h")


@NO_BWRAP
def test_a_confined_process_writes_to_its_folder_and_its_own_tmp_alone(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    code = f"""
import os
for path in ({str(there)!r}, "/tmp", "/", "/usr", "/etc", "/dev", "/sys", "/proc/sys/kernel/core_pattern"):
    try:
        open(path if path.startswith("/proc") else path + "/intruder", "w").close()
        print(path, "yes")
    except OSError:
        print(path, "no")
print(sorted(os.listdir({str(tmp_path)!r})), os.uname().nodename)
"""
    (tmp_path / "secret").write_text("x")
    status, output = ran(code, there, reach=sandbox.Reach(write=(there,)))
    assert status == 0
    assert [line.split()[0] for line in output.splitlines() if line.endswith(" yes")] == [str(there), "/tmp"]
    assert output.splitlines()[-1] == "['there'] tests"
    assert not Path("/tmp/intruder").exists()


@NO_BWRAP
def test_a_confined_process_holds_no_capability_and_sees_no_other(tmp_path: Path) -> None:
    code = (
        "import os; print(open('/proc/self/status').read());"
        "print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))"
    )
    status, output = ran(code, tmp_path)
    assert status == 0 and "CapEff:\t0000000000000000" in output
    assert output.splitlines()[-1] == "[1, 2]"


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=NO_BWRAP), "off"])
def test_an_end_by_a_signal_is_told_as_the_system_tells_it(tmp_path: Path, mode: str) -> None:
    assert ran("import os; os.kill(os.getpid(), 9)", tmp_path, mode=mode)[0] == -signal.SIGKILL
    assert ran("raise SystemExit(75)", tmp_path, mode=mode)[0] == 75


def test_where_confinement_is_required_and_does_not_work_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "fault", lambda: "bubblewrap (bwrap) is not installed")
    sandbox.in_force.cache_clear()
    try:
        with pytest.raises(sandbox.NotConfined, match="SANDBOX=required, but bubblewrap"):
            ran("print(1)", tmp_path, mode="required")
        assert ran("print(1)", tmp_path, mode="auto") == (0, "1\n"), "auto goes on without"
    finally:
        sandbox.in_force.cache_clear()


FORKS = """
import os, sys, time
for number in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", "600"], {})
        os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=NO_BWRAP), "off"])
def test_ending_a_process_ends_all_it_started_wherever_they_went(tmp_path: Path, mode: str) -> None:
    process = sandbox.start(
        [sys.executable, "-c", FORKS],
        mode=mode,
        reach=sandbox.Reach(write=(tmp_path,)),
        folder=tmp_path,
        environment={"PATH": os.environ["PATH"]},
        streams=sandbox.Streams(stdout=subprocess.PIPE),
        hostname="tests",
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    deadline = time.monotonic() + 5
    while len(found := processes.tree(process.pid, processes.table())) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(found) >= 6
    processes.end_tree(process.pid)
    process.wait(10)
    process.stdout.close()

    def left() -> list[int]:
        living = processes.table()
        return [one.pid for one in found if one.pid in living and living[one.pid].started == one.started]

    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:  # who was killed goes when the system comes to it
        time.sleep(0.01)
    assert not left()


def test_what_carries_a_mark_is_found_and_ended() -> None:
    mark = f"test-{os.getpid()}"
    child = subprocess.Popen(["/bin/sleep", "600"], env={processes.MARK: mark}, start_new_session=True)
    assert processes.marked(mark) == [child.pid]
    assert processes.end_marked(mark) == 1
    assert child.wait(5) == -signal.SIGKILL
    assert processes.end_marked(mark) == 0


def test_memory_that_processes_share_counts_once() -> None:
    own = processes.proportional([os.getpid()])
    assert 0 < own <= processes.table()[os.getpid()].resident * 1.2


@pytest.mark.skipif(cgroups.home() is None, reason="no control group (version 2) can be made here")
def test_a_group_ends_everything_in_it_and_goes() -> None:
    group = cgroups.Group.make(f"test-{os.getpid()}", memory_bytes=1 << 30, processes=64)
    assert group is not None
    child = subprocess.Popen(["/bin/sleep", "600"], preexec_fn=group.enter, start_new_session=True)
    assert group.members() == [child.pid]
    group.close()
    assert child.wait(5) == -signal.SIGKILL
    assert not group.path.exists()
