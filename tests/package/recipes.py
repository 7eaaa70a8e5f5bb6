#!/usr/bin/env python3
"""The recipes for Yocto, Buildroot and OpenWrt, as far as they can be judged without those systems.

Their shell and make parts are run for this machine, with small stand-ins for the systems' own makefiles and variables;
what lands in the image is looked at, and its broker started. Lists and versions are compared with Cargo.lock and
Cargo.toml. UPDATE_RECIPES=1 writes the list of crates.
"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "cmake/recipes"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
TOOLS = "CC=cc LD=ld AR=ar NM=nm OBJCOPY=objcopy"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def has(image, *paths):
    for path in paths:
        assert (image / path).is_file(), f"{path} is not in {image.name}: {sorted(str(p.relative_to(image)) for p in image.rglob('*'))}"


def broker_runs(image, libraries):
    text = run(image / "usr/sbin/nlmqttd", "-h", env=dict(os.environ, LD_LIBRARY_PATH=str(libraries)))
    assert "usage: nlmqttd" in text


def crates():
    """The list BitBake fetches, from Cargo.lock."""
    packages = [p for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"] if "source" in p]
    names = "".join(f"    crate://crates.io/{p['name']}/{p['version']} \\\n" for p in packages)
    sums = "".join(f"SRC_URI[{p['name']}-{p['version']}.sha256sum] = \"{p['checksum']}\"\n" for p in packages)
    return f"# From Cargo.lock: UPDATE_RECIPES=1 tests/package/recipes.py\n\nSRC_URI += \" \\\n{names}\"\n\n{sums}"


def list_of_crates():
    path = RECIPES / "yocto/nlmqtt-crates.inc"
    if os.environ.get("UPDATE_RECIPES"):
        path.write_text(crates())
    assert path.read_text() == crates(), "the list of crates is old: UPDATE_RECIPES=1 tests/package/recipes.py"


def versions():
    assert (RECIPES / f"yocto/nlmqtt_{VERSION}.bb").is_file(), f"no Yocto recipe is named after {VERSION}"
    assert f"NLMQTT_VERSION = {VERSION}\n" in (RECIPES / "buildroot/nlmqtt.mk").read_text()
    assert f"PKG_VERSION:={VERSION}\n" in (RECIPES / "openwrt/Makefile").read_text()


def parse_bitbake(text):
    """(assignments, shell functions) of a recipe; a line that is neither is an error."""
    text = text.replace("\\\n", " ")
    variables, functions, lines = {}, {}, iter(text.splitlines())
    for line in lines:
        function = re.fullmatch(r"(do_\w+)\(\) \{", line)
        variable = re.fullmatch(r"([\w:${}-]+(?:\[[\w.+-]+\])?) *(\?=|\+=|=\+|=) *\"(.*)\"", line)
        if function:
            body = iter(lambda: next(lines), "}")
            functions[function[1]] = "\n".join(body)
        elif variable:
            assert not (variable[1] in variables and variable[2] == "="), f"assigned twice: {line}"
            variables[variable[1]] = variable[3]
        else:
            assert not line.strip() or line.startswith("#") or re.match(r"(inherit|require) ", line), f"not BitBake: {line}"
    return variables, functions


def yocto(work):
    text = (RECIPES / f"yocto/nlmqtt_{VERSION}.bb").read_text()
    variables, functions = parse_bitbake(text)
    parse_bitbake((RECIPES / "yocto/nlmqtt-crates.inc").read_text())
    checksum = hashlib.md5((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert variables["LIC_FILES_CHKSUM"] == f"file://LICENSE;md5={checksum}"
    image = work / "yocto"
    values = {
        "S": ROOT, "B": ROOT / "target/package/yocto", "D": image, "prefix": "/usr", "sysconfdir": "/etc",
        "systemd_system_unitdir": "/usr/lib/systemd/system", "RUST_HOST_SYS": "",
    }
    for name in ("do_compile", "do_install"):
        body = re.sub(r"\$\{@.*?\}(?=;)", "true", functions[name])
        # The target directory is shared with the other tests: the same build need not be made again.
        body = body.replace('export CARGO_TARGET_DIR="${B}/target"\n', "")
        unknown = set(re.findall(r"\$\{(\w+)\}", body)) - set(values)
        assert not unknown, f"{name} uses {unknown}"
        script = re.sub(r"\$\{(\w+)\}", lambda match: str(values[match[1]]), body)
        run("sh", "-e", "-c", script)
    has(image, "usr/sbin/nlmqttd", "usr/lib/libnlmqtt.so.1", "usr/include/nlmqtt.h", "etc/nlmqtt/nlmqttd.toml",
        "usr/lib/systemd/system/nlmqttd.service", "usr/share/man/man8/nlmqttd.8", "usr/bin/nlmqtt-sub")
    broker_runs(image, image / "usr/lib")


def buildroot(work):
    image, staging = work / "buildroot", work / "staging"
    stage = lambda name, *variables: f"$(DIR)/.stamp_{name}:\n" + "".join(f"\t$({variable})\n" for variable in variables)
    (work / "buildroot.mk").write_text(
        'qstrip = $(strip $(subst ",,$(1)))\n'
        f"INSTALL = install\nDIR = {ROOT}\nTARGET_DIR = {image}\nSTAGING_DIR = {staging}\n"
        f"TARGET_CONFIGURE_OPTS = {TOOLS}\nNLMQTT_PKGDIR = {RECIPES}/buildroot\n"
        "BR2_PACKAGE_NLMQTT_SERVER = y\nBR2_PACKAGE_NLMQTT_TOOLS = y\n"
        "cargo-package =\n"
        f"include {RECIPES}/buildroot/nlmqtt.mk\n"
        + stage("built", "NLMQTT_BUILD_CMDS")
        + stage("staging", "NLMQTT_INSTALL_STAGING_CMDS")
        + stage("target", "NLMQTT_INSTALL_TARGET_CMDS", "NLMQTT_INSTALL_INIT_SYSTEMD", "NLMQTT_INSTALL_INIT_SYSV")
    )
    for name in ("built", "staging", "target"):
        run("make", "-f", work / "buildroot.mk", "--warn-undefined-variables", f"{ROOT}/.stamp_{name}")
    has(image, "usr/sbin/nlmqttd", "usr/lib/libnlmqtt.so.1", "usr/bin/nlmqtt-pub", "etc/init.d/S60nlmqttd",
        "etc/nlmqtt/nlmqttd.toml", "usr/lib/systemd/system/nlmqttd.service")
    has(staging, "usr/include/nlmqtt.h", "usr/lib/libnlmqtt.a", "usr/lib/pkgconfig/nlmqtt.pc")
    broker_runs(image, image / "usr/lib")
    run("sh", "-n", image / "etc/init.d/S60nlmqttd")
    check_kconfig((RECIPES / "buildroot/Config.in").read_text())


def check_kconfig(text):
    """Every option the makefile asks for is one of the menu's, and blocks are closed."""
    options = set(re.findall(r"^config (\w+)$", text, flags=re.M))
    asked = set(re.findall(r"\bBR2_PACKAGE_NLMQTT\w*", (RECIPES / "buildroot/nlmqtt.mk").read_text()))
    assert asked <= options, f"not in Config.in: {asked - options}"
    assert len(re.findall(r"^if ", text, flags=re.M)) == len(re.findall(r"^endif$", text, flags=re.M))


def openwrt(work):
    top = work / "openwrt"
    (top / "include").mkdir(parents=True)
    (top / "feeds/packages/lang/rust").mkdir(parents=True)
    (top / "rules.mk").write_text(
        f"INCLUDE_DIR = {top}/include\nPKG_BUILD_DIR = {ROOT}\nTARGET_CONFIGURE_OPTS = {TOOLS}\n"
        "INSTALL_DIR = install -d -m 0755\nINSTALL_BIN = install -m 0755\nINSTALL_CONF = install -m 0600\nCP = cp -fpR\n"
    )
    # What the host's variables say must lose against the target's.
    (top / "feeds/packages/lang/rust/rust-package.mk").write_text(
        "RUSTC_TARGET_ARCH =\nRUST_ARCH_DEPENDS =\nCARGO_PKG_VARS = CC=not-the-compiler-of-the-target\n"
    )
    (top / "include/package.mk").write_text(
        "define BuildPackage\n$(if $(Package/$(1)),,$(error no Package/$(1)))\n"
        f"install:: compile\n\t$$(call Package/$(1)/install,{top}/$(1))\nendef\n"
        f"all: install\n\t$(call Build/InstallDev,{top}/dev)\ncompile:\n\t$(Build/Compile)\n.PHONY: all install compile\n"
    )
    run("make", "-C", RECIPES / "openwrt", f"TOPDIR={top}", "all")
    has(top / "libnlmqtt", "usr/lib/libnlmqtt.so.1")
    has(top / "nlmqttd", "usr/sbin/nlmqttd", "etc/nlmqtt/nlmqttd.toml", "etc/init.d/nlmqttd")
    has(top / "nlmqtt-tools", "usr/bin/nlmqtt-pub", "usr/bin/nlmqtt-sub")
    has(top / "dev", "usr/include/nlmqtt.h", "usr/lib/libnlmqtt.a")
    broker_runs(top / "nlmqttd", top / "libnlmqtt/usr/lib")
    run("sh", "-n", top / "nlmqttd/etc/init.d/nlmqttd")


def main():
    list_of_crates()
    versions()
    with tempfile.TemporaryDirectory() as folder:
        for recipe in (yocto, buildroot, openwrt):
            recipe(Path(folder))
            print(f"{recipe.__name__}: as it should be")


sys.exit(main())
