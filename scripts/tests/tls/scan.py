"""What sslyze finds at servers of ours: nothing that its scans know as a weakness.

    scan.py HOST:PORT...
"""

import sys

from sslyze import (
    ScanCommand,
    ScanCommandAttemptStatusEnum,
    Scanner,
    ServerNetworkLocation,
    ServerScanRequest,
)
from sslyze.plugins.robot.implementation import RobotScanResultEnum

OLD = ["ssl_2_0_cipher_suites", "ssl_3_0_cipher_suites", "tls_1_0_cipher_suites", "tls_1_1_cipher_suites"]
COMMANDS = {
    ScanCommand.SSL_2_0_CIPHER_SUITES, ScanCommand.SSL_3_0_CIPHER_SUITES, ScanCommand.TLS_1_0_CIPHER_SUITES,
    ScanCommand.TLS_1_1_CIPHER_SUITES, ScanCommand.TLS_1_2_CIPHER_SUITES, ScanCommand.TLS_1_3_CIPHER_SUITES,
    ScanCommand.HEARTBLEED, ScanCommand.OPENSSL_CCS_INJECTION, ScanCommand.ROBOT, ScanCommand.TLS_COMPRESSION,
    ScanCommand.SESSION_RENEGOTIATION, ScanCommand.TLS_FALLBACK_SCSV, ScanCommand.TLS_1_3_EARLY_DATA,
}
WEAK = ("RC4", "3DES", "CBC", "NULL", "EXPORT", "anon", "MD5")


def verdict(scan):
    """What is wrong with one server."""
    wrong = []

    def result(name):
        attempt = getattr(scan, name)
        if attempt.status != ScanCommandAttemptStatusEnum.COMPLETED:
            wrong.append(f"{name} was not completed: {attempt.error_reason}")
            return None
        return attempt.result

    for name in OLD:
        found = result(name)
        if found and found.accepted_cipher_suites:
            wrong.append(f"{name} are accepted")
    for name in ["tls_1_2_cipher_suites", "tls_1_3_cipher_suites"]:
        found = result(name)
        if found and not found.accepted_cipher_suites:
            wrong.append(f"{name} are not accepted")
        for one in found.accepted_cipher_suites if found else []:
            suite = one.cipher_suite.name
            forward_secret = "ECDHE" in suite or name.startswith("tls_1_3")
            if not forward_secret or any(word in suite for word in WEAK):
                wrong.append(f"{suite} is accepted")
    checks = [
        ("heartbleed", lambda r: r.is_vulnerable_to_heartbleed),
        ("openssl_ccs_injection", lambda r: r.is_vulnerable_to_ccs_injection),
        ("robot", lambda r: r.robot_result in (RobotScanResultEnum.VULNERABLE_WEAK_ORACLE,
                                               RobotScanResultEnum.VULNERABLE_STRONG_ORACLE)),
        ("tls_compression", lambda r: r.supports_compression),
        ("session_renegotiation", lambda r: r.is_vulnerable_to_client_renegotiation_dos),
        ("session_renegotiation", lambda r: not r.supports_secure_renegotiation),
        ("tls_1_3_early_data", lambda r: r.supports_early_data),
    ]
    for name, is_wrong in checks:
        found = result(name)
        if found is not None and is_wrong(found):
            wrong.append(f"{name}: {found}")
    return wrong


def main():
    scanner = Scanner()
    requests = []
    for at in sys.argv[1:]:
        host, port = at.rsplit(":", 1)
        location = ServerNetworkLocation(hostname="localhost", port=int(port), ip_address=host)
        requests.append(ServerScanRequest(server_location=location, scan_commands=COMMANDS))
    scanner.queue_scans(requests)
    wrong = 0
    for scanned in scanner.get_results():
        if scanned.scan_result is None:
            print(f"sslyze could not reach {scanned.server_location}", file=sys.stderr)
            wrong += 1
            continue
        for sentence in verdict(scanned.scan_result):
            print(f"sslyze: {sentence}", file=sys.stderr)
            wrong += 1
    if wrong:
        sys.exit(1)
    print(f"tls: sslyze finds no weakness at {len(requests)} servers")


main()
