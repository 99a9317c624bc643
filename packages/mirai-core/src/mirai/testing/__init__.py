"""For authors of launchers: the suite that a launcher must pass, and fake servers to launch on.

    class TestMine(LauncherSuite):
        @pytest.fixture
        def launcher(self):
            with FakeScheduler("slurm"):
                yield Mine(python=sys.executable)

The fakes stand for what cannot be installed everywhere: their commands come first on PATH, print what the real
ones print, and run the jobs as processes of this machine. Faults can be ordered: a job that is lost, a slow queue, a
submission that is rejected, a job that is held, a node that dies.
"""

from mirai.testing.command_lines import CommandLines
from mirai.testing.job_server import FakeJobServer
from mirai.testing.scheduler import FakeJob, FakeScheduler
from mirai.testing.ssh import fake_ssh
from mirai.testing.suite import LauncherSuite

__all__ = ["CommandLines", "FakeJob", "FakeJobServer", "FakeScheduler", "LauncherSuite", "fake_ssh"]
