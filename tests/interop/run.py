"""Collects the cases and runs them; see run.sh for the options."""

import argparse
import os
import resource
import sys
import time

import harness
from client_mqttjs import Agent
from harness import HERE, MOSQUITTO_COMMAND, Broken, Broker, Runner

import scenario
import scenarios_delivery  # noqa: F401  (these declare their scenarios)
import scenarios_session  # noqa: F401
import scenarios_will  # noqa: F401
import scenarios_v5  # noqa: F401
import scenarios_load  # noqa: F401

REPOSITORY = os.path.dirname(os.path.dirname(HERE))
PROGRAMS = os.path.join(REPOSITORY, "target", "dist", "bin")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", default=os.path.join(PROGRAMS, "nlmqttd"))
    parser.add_argument("--mosquitto", action="store_true", help="test the tests: use mosquitto")
    parser.add_argument("--broker-cmd", help="any broker: a command with {port} {conf} {sets}")
    parser.add_argument("--programs", default=PROGRAMS, help="where publish and subscribe are")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="times and tracebacks")
    return parser.parse_args()


def broker_command(options):
    if options.mosquitto:
        return MOSQUITTO_COMMAND
    return options.broker_cmd or f"{options.broker} -p {{port}} {{sets}}"


def deviations(options):
    """What mosquitto is known to do otherwise; only asked when mosquitto itself is under test."""
    if not options.mosquitto:
        return {}
    known = {}
    with open(os.path.join(HERE, "mosquitto_deviations.tsv")) as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                name, why = line.rstrip("\n").split("\t")
                known[name] = why
    return known


def collect(broker, options):
    import test_browser
    import test_mosquitto_clients
    import test_our_client
    import test_raw
    import test_tls
    import test_transports
    import test_unix
    cases = scenario.cases(broker)
    cases += test_raw.cases(broker)
    cases += test_mosquitto_clients.cases(broker)
    cases += test_our_client.cases(options.programs, required=not options.mosquitto)
    if not options.mosquitto and not options.broker_cmd:
        cases += test_tls.cases(options.broker, options.programs)
        cases += test_transports.cases(options)
        cases += test_browser.cases(options)
        cases += test_unix.cases(options.broker, options.programs)
    return [case for case in cases if options.only in case.name]


def main():
    options = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    broker = Broker(broker_command(options))
    runner = Runner(broker.alive, deviations(options), options.verbose)
    began = time.monotonic()
    try:
        try:
            broker.start()
        except (Broken, OSError) as error:
            runner.report("broker/starts", str(error), 0)
        runner.run_all(collect(broker, options))
        if broker.alive():
            status = broker.stop()
            runner.report("broker/stops_on_sigterm",
                          None if status == 0 else f"exit status {status}", 0)
        elif broker.process is not None:
            runner.report("broker/survives",
                          f"exit status {broker.process.poll()}: {broker.log_tail()}", 0)
    finally:
        broker.remove()
        Agent.stop()
    if runner.known:
        print(f"known deviations of mosquitto: {runner.known}")
    if options.verbose:
        print(f"took {time.monotonic() - began:.0f} s")
    print(f"interop: {runner.passed} passed, {runner.failed} failed", flush=True)
    sys.stdout.flush()
    os._exit(1 if runner.failed else 0)  # threads of client libraries do not hold us up


if __name__ == "__main__":
    main()
