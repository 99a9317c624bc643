"""mirai: run a function somewhere else, and have its value when it is there.

from mirai import daemons, mirai

with daemons(4):
    m = mirai(pow, 2, 10)
    m.result()
"""

# Names are imported when they are first used: a daemon, which starts with this package too, needs few of them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mirai.api.daemons import (
        Daemons,
        daemons,
        daemons_set,
        local_daemons,
        nextstream,
        on_daemon,
        require_daemons,
        with_daemons,
    )
    from mirai.api.executor import (
        MiraiExecutor,
        make_cluster,
        stop_cluster,
    )
    from mirai.api.future import (
        UNRESOLVED,
        Mirai,
    )
    from mirai.api.launching import (
        daemon,
        launch_local,
        launch_remote,
        saisei,
    )
    from mirai.api.mapping import (
        MiraiMap,
        mirai_map,
    )
    from mirai.api.serial import (
        SerialConfig,
        register_serial,
        serial_config,
    )
    from mirai.api.share import (
        share,
    )
    from mirai.api.status import (
        Info,
        Status,
        info,
        status,
    )
    from mirai.api.submit import (
        everywhere,
        mirai,
        try_mirai,
    )
    from mirai.api.waiting import (
        call_mirai,
        collect_mirai,
        is_error_value,
        is_mirai,
        is_mirai_error,
        is_mirai_interrupt,
        is_mirai_map,
        race_mirai,
        stop_mirai,
        unresolved,
    )
    from mirai.config.error import (
        ConfigError,
    )
    from mirai.config.profiles import (
        profiles,
        read_profiles,
    )
    from mirai.errors import (
        Canceled,
        Closed,
        ConnectionReset,
        DaemonStartError,
        ErrorValue,
        MiraiError,
        MiraiInterrupt,
        NoDaemonsError,
        SerializationError,
        TimedOut,
    )
    from mirai.plugins import (
        launcher,
    )
    from mirai.transport.urls import (
        host_url,
        local_url,
    )

__version__ = "0.1.0"
__all__ = [
    "UNRESOLVED",
    "Canceled",
    "Closed",
    "ConfigError",
    "ConnectionReset",
    "DaemonStartError",
    "Daemons",
    "ErrorValue",
    "Info",
    "Mirai",
    "MiraiError",
    "MiraiExecutor",
    "MiraiInterrupt",
    "MiraiMap",
    "NoDaemonsError",
    "SerialConfig",
    "SerializationError",
    "Status",
    "TimedOut",
    "call_mirai",
    "collect_mirai",
    "daemon",
    "daemons",
    "daemons_set",
    "everywhere",
    "host_url",
    "info",
    "is_error_value",
    "is_mirai",
    "is_mirai_error",
    "is_mirai_interrupt",
    "is_mirai_map",
    "launch_local",
    "launch_remote",
    "launcher",
    "local_daemons",
    "local_url",
    "make_cluster",
    "mirai",
    "mirai_map",
    "nextstream",
    "on_daemon",
    "profiles",
    "race_mirai",
    "read_profiles",
    "register_serial",
    "require_daemons",
    "saisei",
    "serial_config",
    "share",
    "status",
    "stop_cluster",
    "stop_mirai",
    "try_mirai",
    "unresolved",
    "with_daemons",
]

_HOMES = {
    "mirai.api.daemons": "Daemons daemons daemons_set local_daemons nextstream on_daemon require_daemons with_daemons",
    "mirai.api.status": "Info Status info status",
    "mirai.api.executor": "MiraiExecutor make_cluster stop_cluster",
    "mirai.api.future": "UNRESOLVED Mirai",
    "mirai.api.launching": "daemon launch_local launch_remote saisei",
    "mirai.api.mapping": "MiraiMap mirai_map",
    "mirai.api.serial": "SerialConfig register_serial serial_config",
    "mirai.api.share": "share",
    "mirai.api.submit": "everywhere mirai try_mirai",
    "mirai.api.waiting": (
        "call_mirai collect_mirai is_error_value is_mirai is_mirai_error "
        "is_mirai_interrupt is_mirai_map race_mirai stop_mirai unresolved"
    ),
    "mirai.config.error": "ConfigError",
    "mirai.config.profiles": "profiles read_profiles",
    "mirai.plugins": "launcher",
    "mirai.transport.urls": "host_url local_url",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mirai' has no attribute {name!r}")
    home = _HOME.get(name, "mirai.errors")
    value = globals()[name] = getattr(__import__(home, fromlist=[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
