/* See tls.h. */
#include "tls.h"
#include "conn.h"

#ifdef HAVE_OPENSSL

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>

/* A Tls is the SSL of OpenSSL by another name. */
static SSL_CTX *context;
static const char *server;

static void fail(const char *what)
{
    die("TLS: %s: %s", what, ERR_reason_error_string(ERR_peek_last_error()));
}

void tls_choose(const char *host, const char *ca_file)
{
    server = host;
    /* OpenSSL writes to sockets that may be closed. */
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)
        || !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"))
        fail("no TLS 1.3");
    if (!ca_file || !SSL_CTX_load_verify_locations(context, ca_file, NULL))
        fail("--ca-file");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    /* One read() fetches many records; an idle connection keeps no buffer. */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, CONN_READ_BYTES);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

Tls *tls_open(int fd)
{
    SSL *ssl = SSL_new(context);
    if (!ssl || !SSL_set_fd(ssl, fd) || !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server))
        fail("no connection");
    if (SSL_connect(ssl) != 1)
        fail("handshake");
    return (Tls *)ssl;
}

void tls_close(Tls *tls)
{
    SSL_free((SSL *)tls);
}

/* What recv() or send() would say after a call that gave nothing. */
static ssize_t outcome(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        fail("connection lost");
        return -1;
    }
}

ssize_t tls_receive(Tls *tls, uint8_t *data, size_t size)
{
    SSL *ssl = (SSL *)tls;
    size_t taken = 0;
    do {
        int count = SSL_read(ssl, data + taken, (int)(size - taken));
        if (count <= 0)
            return taken ? (ssize_t)taken : outcome(ssl, count);
        taken += (size_t)count;
    } while (taken < size && SSL_has_pending(ssl));
    return (ssize_t)taken;
}

ssize_t tls_send(Tls *tls, const uint8_t *data, size_t length)
{
    SSL *ssl = (SSL *)tls;
    size_t taken = 0;
    do {
        int count = SSL_write(ssl, data + taken, (int)(length - taken));
        if (count <= 0)
            return taken ? (ssize_t)taken : outcome(ssl, count);
        taken += (size_t)count;
    } while (taken < length);
    return (ssize_t)taken;
}

#else

void tls_choose(const char *host, const char *ca_file)
{
    (void)host;
    (void)ca_file;
    die("built without OpenSSL (libssl-dev)");
}

Tls *tls_open(int fd)
{
    (void)fd;
    return NULL;
}

void tls_close(Tls *tls)
{
    (void)tls;
}

ssize_t tls_receive(Tls *tls, uint8_t *data, size_t size)
{
    (void)tls;
    (void)data;
    (void)size;
    return 0;
}

ssize_t tls_send(Tls *tls, const uint8_t *data, size_t length)
{
    (void)tls;
    (void)data;
    (void)length;
    return 0;
}

#endif
