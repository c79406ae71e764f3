"""A device that answers every call with an error: no kernel is blamed for it, and the run goes on later."""

import pytest

from evoflash.core.status import Status
from tests.faults.command import recorded, require_all_reported, require_nothing_left, resume, search, status


@pytest.mark.long
def test_a_lost_device_ends_the_run_and_no_kernel_is_blamed(tmp_path):
    run = search(tmp_path, "--budget", "12", family="lost")
    run.until(lambda: len(run.events()) >= 3)
    (tmp_path / "device-lost").touch()
    assert run.end() == 3
    assert "the device fails, not a kernel" in run.said
    assert "evoflash resume" in run.said
    assert status(tmp_path) == "failed"
    require_nothing_left(tmp_path)
    require_all_reported(tmp_path, run)

    still = resume(tmp_path)
    assert still.end() == 3
    assert {each.status for _, each in recorded(tmp_path)} == {Status.OK}

    (tmp_path / "device-lost").unlink()
    again = resume(tmp_path)
    assert again.end() == 0, again.said
    assert [candidate.index for candidate, _ in recorded(tmp_path)] == list(range(12))
    assert {each.status for _, each in recorded(tmp_path)} <= {Status.OK, Status.DUPLICATE}
    require_all_reported(tmp_path, run, still, again)
    require_nothing_left(tmp_path)
