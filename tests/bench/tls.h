/* TLS 1.3 of OpenSSL around one socket. In a build without OpenSSL (no HAVE_OPENSSL) tls_choose() ends the program. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Tls Tls;

/* Servers have to show a certificate of `host` (an address) that `ca_file` has signed. One cipher, so that all brokers do the same sum. */
void tls_choose(const char *host, const char *ca_file);
/* The handshake, on a socket that blocks. */
Tls *tls_open(int fd);
void tls_close(Tls *tls);
/* As recv() and send() on a socket that does not block; receiving goes on until `size` bytes are there or the socket is empty. */
ssize_t tls_receive(Tls *tls, uint8_t *data, size_t size);
ssize_t tls_send(Tls *tls, const uint8_t *data, size_t length);

#endif
