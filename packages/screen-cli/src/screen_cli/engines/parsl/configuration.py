"""From a few lines of TOML, or the user's own file, to a Parsl configuration."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any, Literal

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.base import ParslExecutor
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.jobs.states import JobStatus
from parsl.launchers import MpiExecLauncher, SingleNodeLauncher, SrunLauncher
from parsl.providers import LocalProvider, PBSProProvider, SlurmProvider

from screen_cli.config import EngineSettings
from screen_cli.engines.parsl.block import BLOCK_END, grace_period
from screen_cli.errors import ConfigError
from screen_cli.settings_file import make_settings, setting, settings_record

logger = logging.getLogger(__name__)

_BAD_BLOCKS = 3
_LOOPBACK = "127.0.0.1"
_PROVIDERS = {"local": LocalProvider, "slurm": SlurmProvider, "pbs": PBSProProvider}
_SEVERAL_NODES = {"local": SingleNodeLauncher, "slurm": SrunLauncher, "pbs": MpiExecLauncher}


@settings_record
class ParslOptions:
    """Options of the engine ``parsl``: the table ``[engine.options]``."""

    provider: Literal["local", "slurm", "pbs"] = setting("local", "Batch system: local, slurm or pbs.")
    blocks: int = setting(1, "Most blocks (batch jobs) at a time.", ge=1)
    nodes: int = setting(1, "Nodes per block.", ge=1)
    walltime: str = setting("", "Length of a block, HH:MM:SS; needed for slurm and pbs.")
    worker_init: str = setting("", "Shell lines run on a node first, e.g. module load or activate.")
    provider_options: dict[str, object] = setting({}, 'Anything else the Parsl provider takes, e.g. partition = "x".')
    batch_size: int = setting(16, "Most crystals per task; fewer when little is left.", ge=1)
    threads: int = setting(1, "Cores and BLAS threads per worker.", ge=1)
    retries: int = setting(2, "How often a crystal is tried again that its worker or block was lost with.", ge=0)
    address: str = setting(
        "", "Address of this machine as the nodes see it, needed for slurm and pbs; local blocks: 127.0.0.1."
    )
    lost_after: int = setting(60, "Seconds without a sign of life after which a node counts as lost.", ge=1)
    config: str = setting("", 'The user\'s own Parsl configuration instead: "file.py:attribute".')


def read_options(settings: EngineSettings) -> ParslOptions:
    """Validate ``[engine.options]``.

    Raises
    ------
    ConfigError
        Unknown key, wrong type, or a batch system without a walltime.
    """
    options = make_settings(ParslOptions, settings.options, origin="engine.options")
    if options.provider != "local" and not options.walltime and not options.config:
        raise ConfigError(
            f'engine.options: provider = "{options.provider}" needs a walltime, e.g. walltime = "04:00:00".'
        )
    if options.provider != "local" and not options.address and not options.config:
        raise ConfigError(
            f'engine.options: provider = "{options.provider}" needs address, the address of this machine on the '
            f'network of the nodes, e.g. address = "{platform.node()}" or one that "ip addr" lists. '
            "Parsl listens there and nowhere else."
        )
    if options.walltime:
        seconds_of(options.walltime)
    return options


def seconds_of(walltime: str) -> float:
    """Seconds of ``HH:MM:SS``."""
    if not re.fullmatch(r"\d+:\d\d:\d\d", walltime):
        raise ConfigError(f"engine.options: walltime is '{walltime}', expected HH:MM:SS, e.g. 04:00:00.")
    hours, minutes, seconds = map(int, walltime.split(":"))
    return 3600.0 * hours + 60.0 * minutes + seconds


def walltime_of(executor: ParslExecutor, options: ParslOptions) -> float | None:
    """Length of the blocks of an executor in s, if it has one."""
    text = options.walltime or getattr(getattr(executor, "provider", None), "walltime", "")
    return seconds_of(text) if text else None


def make_config(settings: EngineSettings, options: ParslOptions, workdir: Path) -> Config:
    """Build the Parsl configuration.

    Parameters
    ----------
    settings : EngineSettings
        ``workers`` per node (0: as many as its cores allow).
    options : ParslOptions
    workdir : Path
        Where Parsl keeps its logs and submit scripts; seen by the nodes.

    Raises
    ------
    ConfigError
        The provider does not take an option, or the user's file gives no configuration.
    """
    if options.config:
        config = _users_config(options.config)
        for executor in config.executors:
            _prepare(executor, options)
        return config
    executor = HighThroughputExecutor(
        label="screen",
        provider=_provider(options),
        address=options.address or _LOOPBACK,
        encrypted=_can_encrypt(),
        max_workers_per_node=settings.workers or None,
        cores_per_worker=1e-6 if settings.workers else float(options.threads),
        heartbeat_period=max(1, options.lost_after // 4),
        heartbeat_threshold=options.lost_after,
        block_error_handler=give_up_on_bad_blocks,
    )
    _prepare(executor, options)
    return Config(executors=[executor], run_dir=str(workdir), strategy_period=2, max_idletime=30.0)


def _can_encrypt() -> bool:
    """Whether this ZeroMQ can encrypt (the keys lie in the run directory, readable by its owner); warns when not."""
    import zmq

    if not zmq.has("curve"):
        logger.warning("this ZeroMQ was built without CURVE: what driver and nodes say to one another is not encrypted")
        return False
    return True


def give_up_on_bad_blocks(executor: BlockProviderExecutor, status: dict[str, JobStatus]) -> None:
    """Stop when the last blocks all ended before a worker came up (Parsl calls this regularly).

    Parsl's own handlers count failed blocks; but Slurm without accounting calls every block that is gone completed.
    """
    ended = [block for block in sorted(status, key=int) if status[block].terminal][-_BAD_BLOCKS:]
    connected = executor.connected_blocks() if isinstance(executor, HighThroughputExecutor) else ()
    if len(ended) < _BAD_BLOCKS or set(ended) & set(connected):
        return
    last = status[ended[-1]]
    said = " ".join(str(text).strip() for text in (last.message, last.stderr_summary) if text)
    executor.set_bad_state_and_fail_all(
        TooManyJobFailuresError(
            f"the last {_BAD_BLOCKS} blocks ended before a worker came up; is worker_init right? The last one said: "
            f"{said or 'nothing'}"
        )
    )


def _provider(options: ParslOptions) -> Any:
    """Make the provider and name what it does not take."""
    provider_class = _PROVIDERS[options.provider]
    launcher = _SEVERAL_NODES[options.provider] if options.nodes > 1 else SingleNodeLauncher
    arguments: dict[str, Any] = {
        "nodes_per_block": options.nodes,
        "init_blocks": 0,  # as many as the tasks need
        "max_blocks": options.blocks,
        "worker_init": options.worker_init,
        "launcher": launcher(),
    }
    if options.provider != "local":
        arguments["walltime"] = options.walltime
    known = set(inspect.signature(provider_class).parameters)
    unknown = set(options.provider_options) - known
    if unknown:
        raise ConfigError(
            f"engine.options.provider_options: {provider_class.__name__} takes no {sorted(unknown)}. "
            f"It takes: {', '.join(sorted(known))}."
        )
    try:
        return provider_class(**arguments | options.provider_options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"engine.options.provider_options: {error}") from error
    except Exception as error:  # typeguard's own class, and a batch system that is not there
        raise ConfigError(f"Parsl cannot use provider '{options.provider}': {error}") from error


def _prepare(executor: ParslExecutor, options: ParslOptions) -> None:
    """Teach an executor's blocks their end, and where this Python is; leave executors without blocks alone."""
    provider: Any = getattr(executor, "provider", None)
    if isinstance(executor, HighThroughputExecutor) and options.config and not executor.encrypted:
        logger.warning("executor '%s' of %s is not encrypted: set encrypted=True", executor.label, options.config)
    if not isinstance(executor, HighThroughputExecutor) or not hasattr(provider, "worker_init"):
        return
    walltime = walltime_of(executor, options)
    lines = [f'export PATH="{os.path.dirname(sys.executable)}:$PATH"', provider.worker_init.rstrip()]
    if walltime is not None:
        lines.append(f"export {BLOCK_END}=$(( $(date +%s) + {int(walltime)} ))")
        if executor.drain_period is None:  # Parsl: no new task from here on, and the block ends when it is empty
            executor.drain_period = max(1, int(walltime - 2 * grace_period(walltime)))
    if not isinstance(provider, LocalProvider):
        lines.append("trap '' TERM  # the workers answer it: they hand back what they have not finished")
    provider.worker_init = "\n".join(lines) + "\n"
    executor.launch_cmd = f"{sys.executable} -m screen_cli.engines.parsl.guarded_pool {executor.launch_cmd}"
    executor.interchange_launch_cmd = [sys.executable, "-m", "screen_cli.engines.parsl.interchange", str(os.getpid())]


def _users_config(where: str) -> Config:
    """Import ``file.py:attribute``: a parsl.Config, or a function that returns one."""
    name, _, attribute = where.rpartition(":")
    path = Path(name)
    if not name or not path.is_file():
        raise ConfigError(f"engine.options.config is '{where}', expected 'file.py:attribute' with an existing file.")
    spec = importlib.util.spec_from_file_location("screen_cli_parsl_user_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"engine.options.config: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = getattr(module, attribute)
        config = found() if callable(found) else found
    except (Exception, SystemExit) as error:
        raise ConfigError(f"engine.options.config: {where}: {type(error).__name__}: {error}.") from error
    if not isinstance(config, Config):
        raise ConfigError(f"engine.options.config: {where} is {type(config).__name__}, expected parsl.Config.")
    return config
