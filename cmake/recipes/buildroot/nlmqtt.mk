################################################################################
#
# nlmqtt
#
################################################################################

NLMQTT_VERSION = 0.1.0
NLMQTT_SITE = $(call qstrip,$(BR2_PACKAGE_NLMQTT_SITE))
NLMQTT_SITE_METHOD = git
NLMQTT_LICENSE = MIT
NLMQTT_LICENSE_FILES = LICENSE
NLMQTT_INSTALL_STAGING = YES

# install.sh drives cargo itself: it links the shared object with symbol versions
# and localises the archive.
define NLMQTT_BUILD_CMDS
	cd $(@D) && $(TARGET_MAKE_ENV) $(TARGET_CONFIGURE_OPTS) $(PKG_CARGO_ENV) \
		./cmake/install.sh --prefix $(@D)/target/image \
		--target "$(RUSTC_TARGET_NAME)" --programs --no-strip
endef

define NLMQTT_INSTALL_STAGING_CMDS
	mkdir -p $(STAGING_DIR)/usr
	cp -a $(@D)/target/image/include $(@D)/target/image/lib $(STAGING_DIR)/usr/
endef

define NLMQTT_INSTALL_TARGET_LIBRARY
	$(INSTALL) -D -m 0755 $(@D)/target/image/lib/libnlmqtt.so.1 \
		$(TARGET_DIR)/usr/lib/libnlmqtt.so.1
endef

ifeq ($(BR2_PACKAGE_NLMQTT_SERVER),y)
define NLMQTT_INSTALL_TARGET_SERVER
	$(INSTALL) -D -m 0755 $(@D)/target/image/sbin/nlmqttd \
		$(TARGET_DIR)/usr/sbin/nlmqttd
	$(INSTALL) -D -m 0644 $(@D)/cmake/service/nlmqttd.toml \
		$(TARGET_DIR)/etc/nlmqtt/nlmqttd.toml
endef
define NLMQTT_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/cmake/service/nlmqttd.service \
		$(TARGET_DIR)/usr/lib/systemd/system/nlmqttd.service
endef
define NLMQTT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(NLMQTT_PKGDIR)/S60nlmqttd \
		$(TARGET_DIR)/etc/init.d/S60nlmqttd
endef
endif

ifeq ($(BR2_PACKAGE_NLMQTT_TOOLS),y)
define NLMQTT_INSTALL_TARGET_TOOLS
	$(INSTALL) -D -m 0755 -t $(TARGET_DIR)/usr/bin \
		$(@D)/target/image/bin/nlmqtt-pub $(@D)/target/image/bin/nlmqtt-sub
endef
endif

define NLMQTT_INSTALL_TARGET_CMDS
	$(NLMQTT_INSTALL_TARGET_LIBRARY)
	$(NLMQTT_INSTALL_TARGET_SERVER)
	$(NLMQTT_INSTALL_TARGET_TOOLS)
endef

$(eval $(cargo-package))
