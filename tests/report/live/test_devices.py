"""Lines of the live view by device."""

from evoflash.core.status import Status
from evoflash.report.live import Counts, Devices
from evoflash.report.live.layout import Glyphs, panel
from tests.helpers import failed, right


def test_several_devices_have_a_line_each():
    devices = Devices(["cuda:0", "cuda:1"])
    for _ in range(30):
        devices.add(right(3.0, device="cuda:0", seconds=0.5))
    state = {"device": "cuda:1", "clock_ratio": 1.05, "temperature_c": 61.0, "clock_mhz": 1755.0}
    devices.add(failed(Status.LAUNCH_FAILED).model_copy(update=state))
    devices.add(failed(Status.BUILD_FAILED))  # no device has seen it
    assert devices.lines(20.0) == [
        "cuda:0       90 a minute  75% busy  clock 1.000  no failures",
        "cuda:1        3 a minute   0% busy   61 C  1755 MHz  clock 1.050  1 launch failed",
    ]


def test_one_device_has_none_and_many_share_the_last():
    assert Devices(["cuda:0"]).lines(1.0) == []
    lines = Devices([f"cuda:{number}" for number in range(32)]).lines(1.0)
    assert len(lines) == 8
    assert lines[-1] == "and 25 more"


def test_the_panel_is_as_it_was_with_one_device_and_grows_by_a_line_for_each_of_several():
    one, two = Counts(10, 1.0), Counts(10, 1.0, devices=Devices(["cuda:0", "cuda:1"]))
    glyphs = Glyphs.of("utf-8")
    assert len(panel(two, 100, 50, glyphs)) == len(panel(one, 100, 50, glyphs)) + 2
    assert any("cuda:1" in line.plain for line in panel(two, 100, 50, glyphs))
