"""Stand-ins for the images that docker-compose.yml and Dockerfile ask for, made here: no registry is needed.

What runs in them is the real thing: Debian 13's Python 3.13, Caddy and Prometheus, nats-server and PostgreSQL 18 from
the wheels that `pricetime up` uses. What differs from the official images is what is around it: their base and their
entrypoint scripts, of which the parts that docker-compose.yml relies on are written anew below. Wheels that the build
of the services' image installs lie in the stand-in for Python, with a pip.conf that says so.
"""

import re
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import yaml

from cli.servers import nats_executable, postgres_binary

ROOT = Path(__file__).parents[2]
RELEASE = "trixie"
MIRROR = "http://deb.debian.org/debian"
BASE_PACKAGES = ("python3", "python3-venv", "busybox-static", "ca-certificates")
PACKAGES = ("caddy", "prometheus")
"""Of which only the files are taken."""
ENGINE_PACKAGES = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables", "iproute2")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageError(Exception):
    """The message says what is missing, and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """Folders that lie above one another, the last on top, and what `docker import` is told besides."""

    folders: tuple[Path, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lab:
    """Where everything lies that is made here. Kept from one run to the next; may be deleted at any time."""

    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def engine(self) -> Path:
        """The root of the file system that dockerd runs in."""
        return self.folder / "engine"

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    def packages(self, name: str) -> Path:
        return self.folder / "packages" / name

    def overlay(self, name: str) -> Path:
        return self.folder / "overlays" / name


def prepare(lab: Lab, say: Callable[[str], None]) -> None:
    """Debian twice, for images and for the engine, and the wheels: minutes the first time, then nothing."""
    if shutil.which("debootstrap") is None:
        raise ImageError("there is no debootstrap: apt-get install debootstrap")
    lab.folder.mkdir(parents=True, exist_ok=True)
    for folder, packages in ((lab.base, BASE_PACKAGES), (lab.engine, ENGINE_PACKAGES)):
        if not folder.exists():
            say(f"Debian {RELEASE} with {', '.join(packages)} ...")
            _debootstrap(lab, folder, packages)
    for package in PACKAGES:
        if not list(lab.packages(package).glob("*.deb")):
            _download_package(lab, package)
    say("wheels for Python 3.13 ...")
    _download_wheels(lab.wheels)


def _debootstrap(lab: Lab, folder: Path, packages: Iterable[str]) -> None:
    """Under another name until it is whole."""
    fresh, debs = folder.with_name(folder.name + ".new"), lab.folder / "debs"
    shutil.rmtree(fresh, ignore_errors=True)
    debs.mkdir(exist_ok=True)
    options = ["--variant=minbase", f"--cache-dir={debs}", f"--include={','.join(packages)}"]
    _run("debootstrap", *options, RELEASE, str(fresh), MIRROR)
    fresh.rename(folder)


def _download_package(lab: Lab, package: str) -> None:
    there = lab.base / "var/cache/pricetime"
    there.mkdir(exist_ok=True)
    command = f"cd /var/cache/pricetime && apt-get -qq -o APT::Sandbox::User=root download {package}"
    _run("chroot", str(lab.base), "sh", "-ec", command)
    shutil.rmtree(lab.packages(package), ignore_errors=True)
    lab.packages(package).parent.mkdir(exist_ok=True)
    shutil.move(there, lab.packages(package))


def _download_wheels(folder: Path) -> None:
    """What `pip install .` in the Dockerfile needs, in the locked versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = re.findall(r"pip install [^\n]*\.\[([\w,-]+)\]", (ROOT / "Dockerfile").read_text())
    optional = project["project"].get("optional-dependencies", {})
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [each for names in extras for name in names.split(",") for each in optional[name]]
    platforms = [f"--platform=manylinux{kind}_x86_64" for kind in ("2014", "_2_17", "_2_28", "_2_34")]
    options = ["--quiet", "--only-binary=:all:", "--python-version=3.13", "--implementation=cp", "--abi=cp313"]
    options += ["--abi=abi3", "--abi=none", *platforms, f"--constraint={ROOT / 'requirements.lock'}"]
    python = f"{sysconfig.get_path('scripts')}/python"
    _run(python, "-m", "pip", "download", f"--dest={folder}", *options, *wanted)


def wanted_images() -> list[str]:
    """Every image that the files name and do not build."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    built_from = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return sorted({*built_from, *(each["image"] for each in services if "build" not in each)})


def import_images(lab: Lab, docker: Callable[..., subprocess.Popen[bytes]], say: Callable[[str], None]) -> list[str]:
    """Makes every image that can be made, and answers those that cannot."""
    unknown = []
    for tag in wanted_images():
        maker = MAKERS.get(tag.partition(":")[0])
        if maker is None:
            unknown.append(tag)
            continue
        made_from = _made_from(lab)
        if not _is_there(docker, tag, made_from):
            say(f"image {tag}")
            _import(lab, docker, tag, maker(lab), made_from)
    with docker("image", "prune", "--force", stdout=subprocess.DEVNULL):
        pass  # those of the run before
    return unknown


_LABEL = "pricetime.made-from"


def _made_from(lab: Lab) -> str:
    """What the images depend on: how they are made, and what is put in."""
    packages = sorted(path.name for path in lab.folder.glob("packages/*/*.deb"))
    wheels = sorted(path.name for path in lab.wheels.iterdir())
    seen = [Path(__file__).read_text(), nats_executable(), *packages, *wheels]
    return sha256("\n".join(seen).encode()).hexdigest()[:16]


def _is_there(docker: Callable[..., subprocess.Popen[bytes]], tag: str, made_from: str) -> bool:
    label = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
    asked = ("image", "inspect", "--format", label, tag)
    with docker(*asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as asking:
        return asking.stdout is not None and asking.stdout.read().decode().strip() == made_from


def _import(lab: Lab, docker: Callable[..., subprocess.Popen[bytes]], tag: str, image: Image, made_from: str) -> None:
    changes = [part for change in (*image.changes, f"LABEL {_LABEL}={made_from}") for part in ("--change", change)]
    with (
        _laid_over(lab, image.folders) as root,
        docker("import", *changes, "-", tag, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing,
    ):
        _run("tar", "--create", *_TAR_OPTIONS, "-C", str(root), ".", stdout=importing.stdin)
    if importing.returncode:
        raise ImageError(f"docker import of {tag} failed")


_LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc")
_TAR_OPTIONS = ("--xattrs", "--xattrs-include=*", *(f"--exclude=./{folder}/*" for folder in _LEFT_OUT))


@contextmanager
def _laid_over(lab: Lab, folders: tuple[Path, ...]) -> Iterator[Path]:
    """All folders as one."""
    if len(folders) == 1:
        yield folders[0]
        return
    merged = _fresh(lab.folder / "merged")
    lower = ":".join(str(each) for each in reversed(folders))
    _run("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", str(merged))
    try:
        yield merged
    finally:
        _run("umount", str(merged))


# The images


def _python(lab: Lab) -> Image:
    overlay = _fresh(lab.overlay("python"))
    shutil.copytree(lab.wheels, overlay / "wheels")
    _write(overlay / "etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\n")
    (overlay / "usr/local/bin").mkdir(parents=True)
    (overlay / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    return Image((lab.base, overlay), (f"ENV PATH={PATH}", 'CMD ["python3"]'))


def _nats(lab: Lab) -> Image:
    """Busybox and nats-server, as in the official image on Alpine."""
    overlay = _fresh(lab.overlay("nats"))
    _copy(lab.base / "bin/busybox", overlay / "bin/busybox")
    for name in subprocess.check_output([lab.base / "bin/busybox", "--list"], text=True).split():
        if name != "busybox":
            (overlay / "bin" / name).symlink_to("busybox")
    _copy(Path(nats_executable()), overlay / "usr/local/bin/nats-server")
    _script(overlay / "usr/local/bin/docker-entrypoint.sh", _NATS_ENTRYPOINT)
    _write(overlay / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    _write(overlay / "etc/group", "root:x:0:\n")
    (overlay / "tmp").mkdir()
    (overlay / "tmp").chmod(0o1777)  # a tmpfs that is mounted there takes this over
    changes = (f"ENV PATH={PATH}", 'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["nats-server"]')
    return Image((overlay,), changes)


_NATS_ENTRYPOINT = """\
#!/bin/sh
# options alone are nats-server's
case "${1:-}" in -*) set -- nats-server "$@" ;; esac
exec "$@"
"""


def _postgres(lab: Lab) -> Image:
    overlay = _fresh(lab.overlay("postgres"))
    install = postgres_binary("postgres").parents[1]
    package = install.parent
    home = overlay / "opt/postgres"
    shutil.copytree(install, home / package.name / install.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), home / f"{package.name}.libs")
    binaries = f"/opt/postgres/{package.name}/{install.name}/bin"
    for line, name in (("postgres:x:999:999::/var/lib/postgresql:/bin/sh\n", "passwd"), ("postgres:x:999:\n", "group")):
        _write(overlay / "etc" / name, (lab.base / "etc" / name).read_text() + line)
    data = overlay / "var/lib/postgresql"
    data.mkdir(parents=True)
    shutil.chown(data, 999, 999)
    sockets = overlay / "run/postgresql"
    sockets.mkdir(parents=True)
    sockets.chmod(0o3777)
    _script(overlay / "usr/local/bin/docker-entrypoint.sh", _POSTGRES_ENTRYPOINT)
    changes = (
        f"ENV PATH={binaries}:{PATH}",
        "ENV PGDATA=/var/lib/postgresql/18/docker",
        "VOLUME /var/lib/postgresql",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
        'CMD ["postgres"]',
    )
    return Image((lab.base, overlay), changes)


_POSTGRES_ENTRYPOINT = """\
#!/bin/sh
# An empty data folder is set up first, by a server that listens on its socket only.
set -eu
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  printf '%s\\n' "$POSTGRES_PASSWORD" >/tmp/password
  # shellcheck disable=SC2086
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password ${POSTGRES_INITDB_ARGS:-}
  rm /tmp/password
  printf '\\nhost all all all scram-sha-256\\n' >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -c unix_socket_directories=/var/run/postgresql" -w start
  PGPASSWORD="$POSTGRES_PASSWORD" psql -h /var/run/postgresql -U "$POSTGRES_USER" -d postgres \\
    -c "CREATE DATABASE \\"$POSTGRES_DB\\""
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
if [ "$1" = postgres ]; then
  shift
  set -- postgres -c "listen_addresses=*" -c unix_socket_directories=/var/run/postgresql "$@"
fi
exec "$@"
"""


def _caddy(lab: Lab) -> Image:
    """With the capability on its file that the official image has: without it in a container it does not even start."""
    overlay = _unpacked(lab, "caddy")
    _run("setcap", "cap_net_bind_service=+ep", str(overlay / "usr/bin/caddy"))
    for folder in ("config/caddy", "data/caddy", "srv"):
        (overlay / folder).mkdir(parents=True)
    (overlay / "usr/bin/wget").symlink_to("busybox")
    command = 'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]'
    places = "ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data"
    return Image((lab.base, overlay), (f"ENV PATH={PATH}", places, "WORKDIR /srv", command))


def _prometheus(lab: Lab) -> Image:
    overlay = _unpacked(lab, "prometheus")
    (overlay / "usr/bin/wget").symlink_to("busybox")
    data = overlay / "prometheus"
    data.mkdir()
    shutil.chown(data, 65534, 65534)
    entry = 'ENTRYPOINT ["/usr/bin/prometheus"]'
    command = 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
    return Image((lab.base, overlay), ("USER 65534:65534", "WORKDIR /prometheus", entry, command))


MAKERS: Mapping[str, Callable[[Lab], Image]] = {
    "python": _python,
    "nats": _nats,
    "postgres": _postgres,
    "caddy": _caddy,
    "prom/prometheus": _prometheus,
}


# Files and programs


def _unpacked(lab: Lab, package: str) -> Path:
    """What lies in a package of Debian's, without what it depends on."""
    overlay = _fresh(lab.overlay(package))
    for deb in lab.packages(package).glob("*.deb"):
        _run("dpkg-deb", "--extract", str(deb), str(overlay))
    return overlay


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _script(path: Path, text: str) -> None:
    _write(path, text)
    path.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _run(*command: str, stdout: IO[bytes] | None = None) -> None:
    done = subprocess.run(command, check=False, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        said = (done.stderr or done.stdout or b"").decode(errors="replace").strip().splitlines()
        raise ImageError(f"{' '.join(command[:6])} ... failed: {' / '.join(said[-5:])}")
