/* An authority and what it has signed, for tests of TLS: ECDSA on P-256, valid for a hundred years from 2026 on. Made with
 * openssl; the key of the authority was thrown away. The server is "localhost" and 127.0.0.1, the client "gateway". */
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char ca_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBpjCCAU2gAwIBAgIUeo15SG9luYgoLvJMzZtzQaVGOfQwCgYIKoZIzj0EAwIw\n"
    "IDEeMBwGA1UEAwwVbmxtcXR0IHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyNTIzMTk1\n"
    "NloYDzIxMjYxMTAxMjMxOTU2WjAgMR4wHAYDVQQDDBVubG1xdHQgdGVzdCBhdXRo\n"
    "b3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATs0whovx6v5q1VNbvXbmFb\n"
    "e23rQWOZMqOHhLoph6Xu6o1XyjglAtaukhP1TxxQ21oG0USTbIx1wnK432I/f/tP\n"
    "o2MwYTAdBgNVHQ4EFgQUz9noicM7BqqO8UtMNYxaNx4v1TgwHwYDVR0jBBgwFoAU\n"
    "z9noicM7BqqO8UtMNYxaNx4v1TgwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8E\n"
    "BAMCAQYwCgYIKoZIzj0EAwIDRwAwRAIgT8oKEaio6tEb8IfXx4Z4p70E+VGZ760R\n"
    "QJyje59KVxwCIG8cfMzScNPdArlR6TrLJwBlnolbQfEJdiPHQIC0E2BX\n"
    "-----END CERTIFICATE-----\n";
static const char server_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBljCCATygAwIBAgIUVumchZeyCzWIb0205CZt8CtCqOwwCgYIKoZIzj0EAwIw\n"
    "IDEeMBwGA1UEAwwVbmxtcXR0IHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyNTIzMTk1\n"
    "NloYDzIxMjYxMTAxMjMxOTU2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcq\n"
    "hkjOPQIBBggqhkjOPQMBBwNCAARX4G7SGJow3zc1znnJueJmtElIZMEdSwjVB1nS\n"
    "f4Cpu51nmW3/2/qjVJYFEVFhOJQFRSr57QkB5gJYeRupz/kxo14wXDAaBgNVHREE\n"
    "EzARgglsb2NhbGhvc3SHBH8AAAEwHQYDVR0OBBYEFPVCYYt1xSvQBc7x9JrZpWHM\n"
    "Dv3tMB8GA1UdIwQYMBaAFM/Z6InDOwaqjvFLTDWMWjceL9U4MAoGCCqGSM49BAMC\n"
    "A0gAMEUCIQDByAh07ohqaITkBhfQTZQCV8KYVGXLyJ1RQ3Ajc5lH5wIgQ3Ud4bDn\n"
    "ER1MeQ229sTmpkFKfA1ljx0+Y24xLmXPEzY=\n"
    "-----END CERTIFICATE-----\n";
static const char server_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoSm/xj4sQcDwmMBT\n"
    "lCOPKP7EVOW/7849J8gdBY6t2AqhRANCAARX4G7SGJow3zc1znnJueJmtElIZMEd\n"
    "SwjVB1nSf4Cpu51nmW3/2/qjVJYFEVFhOJQFRSr57QkB5gJYeRupz/kx\n"
    "-----END PRIVATE KEY-----\n";
static const char client_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBlDCCATqgAwIBAgIUVumchZeyCzWIb0205CZt8CtCqO0wCgYIKoZIzj0EAwIw\n"
    "IDEeMBwGA1UEAwwVbmxtcXR0IHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyNTIzMTk1\n"
    "NloYDzIxMjYxMTAxMjMxOTU2WjASMRAwDgYDVQQDDAdnYXRld2F5MFkwEwYHKoZI\n"
    "zj0CAQYIKoZIzj0DAQcDQgAEZH/yZqRF02zPwMUsnJ1K6IJP5bUa1Wb6whbABPI9\n"
    "sq2msrPDpD07n+MIzstih9LMCBnMZIYUyk+60fSaV8b/CqNeMFwwGgYDVR0RBBMw\n"
    "EYIPZ2F0ZXdheS5leGFtcGxlMB0GA1UdDgQWBBRooYwxw6vSk68LQo66Xxow/obp\n"
    "yzAfBgNVHSMEGDAWgBTP2eiJwzsGqo7xS0w1jFo3Hi/VODAKBggqhkjOPQQDAgNI\n"
    "ADBFAiEA3LjD8crRx78VgRoiDbhGGnTirwbbVUe1Qg2en/ZaBzACICre8HDlsjSM\n"
    "cEIva+UFufbnPhAa+vP038Nkh/AQrBIT\n"
    "-----END CERTIFICATE-----\n";
static const char client_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWgakhHpfw2ELsCCN\n"
    "hA/JllV+MS8d29qdSdKF0mJ091+hRANCAARkf/JmpEXTbM/AxSycnUrogk/ltRrV\n"
    "ZvrCFsAE8j2yraays8OkPTuf4wjOy2KH0swIGcxkhhTKT7rR9JpXxv8K\n"
    "-----END PRIVATE KEY-----\n";

/* The path of a new file with this text, for the caller to remove. */
static inline void write_file(char path[64], const char *text)
{
    int descriptor;
    strcpy(path, "/tmp/nlmqtt-tls-XXXXXX");
    descriptor = mkstemp(path);
    if (descriptor < 0 || write(descriptor, text, strlen(text)) != (ssize_t)strlen(text) || close(descriptor) != 0) {
        perror(path);
        abort();
    }
}

/* The files of the server, and the URI of a listener with them. `more` is the rest of the query. */
struct server_files {
    char cert[64], key[64], ca[64], uri[512];
};

static inline void write_server_files(struct server_files *files, const char *more)
{
    write_file(files->cert, server_pem);
    write_file(files->key, server_key);
    write_file(files->ca, ca_pem);
    snprintf(files->uri, sizeof files->uri, "mqtts://127.0.0.1:0?cert=%s&key=%s%s%s", files->cert, files->key, *more ? "&ca=" : "",
             *more ? files->ca : "");
    strncat(files->uri, more, sizeof files->uri - strlen(files->uri) - 1);
}

static inline void remove_server_files(const struct server_files *files)
{
    unlink(files->cert);
    unlink(files->key);
    unlink(files->ca);
}

#endif
