"""What both stand-ins need: the options, and a client that reconnects."""

import argparse
import os

import paho.mqtt.client as paho


def options():
    parser = argparse.ArgumentParser(add_help=False)
    for name in ("-h", "-t", "-m", "-i", "-u", "-P", "-V"):
        parser.add_argument(name)
    for name in ("-p", "-q"):
        parser.add_argument(name, type=int, default=0)
    for name in ("-r", "-l", "-v"):
        parser.add_argument(name, action="store_true")
    return parser.parse_args()


def client(chosen):
    version = {"mqttv31": 3, "mqttv311": 4, "mqttv5": 5}[chosen.V]
    name = chosen.i or (f"standin{os.getpid()}" if version == 3 else "")
    mqtt = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=version)
    mqtt.reconnect_delay_set(0.2, 1)
    if chosen.u:
        mqtt.username_pw_set(chosen.u, chosen.P)
    mqtt.connect(chosen.h, chosen.p)
    return mqtt
