/* Certificates that are to be refused, and the authority that has signed them: ECDSA on P-256. Made with openssl; the key of the
 * authority was thrown away. All are of "localhost" and 127.0.0.1, for the one key below, and would do for a client as well. */
#ifndef CERTIFICATES_REFUSED_H
#define CERTIFICATES_REFUSED_H

static const char refused_ca_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBmjCCAUCgAwIBAgIUAr/vA7JFMIbEP7oFT0WobR7vjGswCgYIKoZIzj0EAwIw\n"
    "KjEoMCYGA1UEAwwfbmxtcXR0IHRlc3QgYXV0aG9yaXR5IG9mIHdyb25nczAgFw0w\n"
    "MDAxMDEwMDAwMDBaGA8yMTk5MTIzMTIzNTk1OVowKjEoMCYGA1UEAwwfbmxtcXR0\n"
    "IHRlc3QgYXV0aG9yaXR5IG9mIHdyb25nczBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
    "A0IABElMIvx0kOfFCa4s8qZxlex2K2e8/uqh61teszxZNts4b1kgHmk06PkkA1tj\n"
    "35h9b22odBA516W2n393VPNbgbyjQjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0P\n"
    "AQH/BAQDAgEGMB0GA1UdDgQWBBTgMEkjkYkWISm6MUb0JOsx3E8LTzAKBggqhkjO\n"
    "PQQDAgNIADBFAiEA1t9qGi+YroZceKJEB+JCUHx/Ah2UqwV/he2JiAtRZLICIBvW\n"
    "wZU584cjzhvC8Mt+UJWgYWLIv5cRCW4Ftn8Im8+B\n"
    "-----END CERTIFICATE-----\n";
/* From 2001 to 2002. */
static const char expired_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBnzCCAUSgAwIBAgIUYRJcmMfwp9blDLP/lNzhjbU6x+swCgYIKoZIzj0EAwIw\n"
    "KjEoMCYGA1UEAwwfbmxtcXR0IHRlc3QgYXV0aG9yaXR5IG9mIHdyb25nczAeFw0w\n"
    "MTAxMDEwMDAwMDBaFw0wMjAxMDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9z\n"
    "dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLIUxnR5Rr6IlvhD4Rm9692WWweE\n"
    "b8psXTqS2S+ecqQ+j9bOQqyQHr5kZ2W8KL3FcbJcgVkoa963yEIC96XfMpqjXjBc\n"
    "MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAdBgNVHQ4EFgQUKNZy3UrDK05V\n"
    "vSmSd/Cy/YhLh3AwHwYDVR0jBBgwFoAU4DBJI5GJFiEpujFG9CTrMdxPC08wCgYI\n"
    "KoZIzj0EAwIDSQAwRgIhALkArFbJkvkZHg7UiKEMDc4+rT+lOoKnJw8AiKrchYQU\n"
    "AiEA28Q0OdQhw1aOhU+0lcIIpXlCZOU3zgLj/loy0sPOtH4=\n"
    "-----END CERTIFICATE-----\n";
/* From 2090 on. */
static const char early_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBojCCAUigAwIBAgIUbLMPJt+NNBra/Hi+RJUTVwjK+E8wCgYIKoZIzj0EAwIw\n"
    "KjEoMCYGA1UEAwwfbmxtcXR0IHRlc3QgYXV0aG9yaXR5IG9mIHdyb25nczAiGA8y\n"
    "MDkwMDEwMTAwMDAwMFoYDzIxOTAwMTAxMDAwMDAwWjAUMRIwEAYDVQQDDAlsb2Nh\n"
    "bGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASyFMZ0eUa+iJb4Q+EZvevd\n"
    "llsHhG/KbF06ktkvnnKkPo/WzkKskB6+ZGdlvCi9xXGyXIFZKGvet8hCAvel3zKa\n"
    "o14wXDAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwHQYDVR0OBBYEFCjWct1K\n"
    "wytOVb0pknfwsv2IS4dwMB8GA1UdIwQYMBaAFOAwSSORiRYhKboxRvQk6zHcTwtP\n"
    "MAoGCCqGSM49BAMCA0gAMEUCIQCuTCH1DHml8D46PMJzivR9lc0me5WqSECQEeQM\n"
    "jFexnQIgMRwfduIDCVxle2qNzI9XwJJH/7mi8ee2LG3Str/uiz0=\n"
    "-----END CERTIFICATE-----\n";
/* From 2000 to 2190, and on the list that follows. */
static const char revoked_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBoDCCAUagAwIBAgIUesFogf9c9D6vBPDPpBN9rK38880wCgYIKoZIzj0EAwIw\n"
    "KjEoMCYGA1UEAwwfbmxtcXR0IHRlc3QgYXV0aG9yaXR5IG9mIHdyb25nczAgFw0w\n"
    "MDAxMDEwMDAwMDBaGA8yMTkwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJbG9jYWxo\n"
    "b3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEshTGdHlGvoiW+EPhGb3r3ZZb\n"
    "B4RvymxdOpLZL55ypD6P1s5CrJAevmRnZbwovcVxslyBWShr3rfIQgL3pd8ymqNe\n"
    "MFwwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMB0GA1UdDgQWBBQo1nLdSsMr\n"
    "TlW9KZJ38LL9iEuHcDAfBgNVHSMEGDAWgBTgMEkjkYkWISm6MUb0JOsx3E8LTzAK\n"
    "BggqhkjOPQQDAgNIADBFAiA53ib4+qZ1TIvmulieLBM+21GzdMsEkIhS1ADoaKfV\n"
    "jAIhAMnSExa1/1aemD503/3xMVcfbX0kKljRZFdDxeV3jQ0W\n"
    "-----END CERTIFICATE-----\n";
static const char revocation_list[] =
    "-----BEGIN X509 CRL-----\n"
    "MIIBDTCBtQIBATAKBggqhkjOPQQDAjAqMSgwJgYDVQQDDB9ubG1xdHQgdGVzdCBh\n"
    "dXRob3JpdHkgb2Ygd3JvbmdzFw0yNjExMjYwNTI2NTBaGA8yMTI2MTEwMjA1MjY1\n"
    "MFowJzAlAhR6wWiB/1z0Pq8E8M+kE32srfzzzRcNMjYxMTI2MDUyNjUwWqAvMC0w\n"
    "HwYDVR0jBBgwFoAU4DBJI5GJFiEpujFG9CTrMdxPC08wCgYDVR0UBAMCAQEwCgYI\n"
    "KoZIzj0EAwIDRwAwRAIgCuCPi/CSXDOf7alg8Qcb2BHNbAvpIRB/AGooIQWt3JAC\n"
    "IC0pD57DUDwRhcdjbau8NsbrgkQ0vxCIp7y+RyLue5gF\n"
    "-----END X509 CRL-----\n";
static const char refused_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKMMKM3v1EV5JJFE0\n"
    "XhMZHpwuQhDk2FHToGtdJZ2oMAihRANCAASyFMZ0eUa+iJb4Q+EZvevdllsHhG/K\n"
    "bF06ktkvnnKkPo/WzkKskB6+ZGdlvCi9xXGyXIFZKGvet8hCAvel3zKa\n"
    "-----END PRIVATE KEY-----\n";

#endif
