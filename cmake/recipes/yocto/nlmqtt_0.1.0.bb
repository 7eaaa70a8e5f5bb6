SUMMARY = "MQTT 3.1, 3.1.1 and 5.0, client and broker, in one library with a C API"
DESCRIPTION = "A library for firmware of gateways, with the broker nlmqttd and the clients nlmqtt-pub and nlmqtt-sub."
SECTION = "libs/network"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=03c8eaa222cab4db00a67a9f90e55347"

# Where your copy of the sources is.
NLMQTT_GIT ?= "git://${TOPDIR}/../nlmqtt;protocol=file;branch=main;destsuffix=nlmqtt"
SRC_URI = "${NLMQTT_GIT}"
SRCREV ?= "${AUTOREV}"
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}/nlmqtt"

# The crates of Cargo.lock; `bitbake -c update_crates nlmqtt` makes the file again.
require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates systemd

SYSTEMD_SERVICE:${PN}-server = "nlmqttd.service"
SYSTEMD_PACKAGES = "${PN}-server"

# install.sh drives cargo itself: it links the shared object with symbol versions and localises the archive.
do_compile() {
    export CARGO_TARGET_DIR="${B}/target"
    export CARGO_NET_OFFLINE=true
    ${S}/cmake/install.sh --prefix "${B}/image" --target "${RUST_HOST_SYS}" --programs --no-strip
}

do_install() {
    install -d ${D}${prefix} ${D}${sysconfdir}/nlmqtt
    cp -R --no-dereference --preserve=mode,links ${B}/image/. ${D}${prefix}/
    install -m 0644 ${S}/cmake/service/nlmqttd.toml ${D}${sysconfdir}/nlmqtt/nlmqttd.toml
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -d ${D}${systemd_system_unitdir}
        install -m 0644 ${S}/cmake/service/nlmqttd.service ${D}${systemd_system_unitdir}/nlmqttd.service
    fi
}

PACKAGES =+ "${PN}-server ${PN}-tools"
FILES:${PN}-server = "${sbindir}/nlmqttd ${sysconfdir}/nlmqtt ${systemd_system_unitdir}"
FILES:${PN}-tools = "${bindir}"
CONFFILES:${PN}-server = "${sysconfdir}/nlmqtt/nlmqttd.toml"
