"""What a dropped task leaves in the log: an error only if it may be a bug."""

import asyncio
import gc
import logging

import aiohttp
import pytest

from gpuenv.controller import logs


@pytest.mark.parametrize(
    ("error", "level"),
    [(aiohttp.ClientPayloadError("cut off"), logging.INFO), (KeyError("a bug"), logging.ERROR)],
)
async def test_a_dropped_task_is_an_error_only_if_it_may_be_a_bug(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise error

    asyncio.get_running_loop().set_exception_handler(logs.unhandled)
    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    with caplog.at_level(logging.INFO):
        del task
        gc.collect()
    assert [record.levelno for record in caplog.records] == [level]
