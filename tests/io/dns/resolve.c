/* Prints the addresses of names, as the C library that it is built with finds them: one line a name. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **names) {
  for (int i = 1; i < count; i++) {
    struct addrinfo want, *all = NULL;
    memset(&want, 0, sizeof want);
    want.ai_socktype = SOCK_STREAM;
    int failed = getaddrinfo(names[i], NULL, &want, &all);
    printf("%s", names[i]);
    if (failed) printf(" %s", failed == EAI_NONAME ? "NONAME" : failed == EAI_AGAIN ? "AGAIN" : gai_strerror(failed));
    for (struct addrinfo *a = all; a; a = a->ai_next) {
      char text[INET6_ADDRSTRLEN];
      const void *address = a->ai_family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr
                                                     : (const void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr;
      printf(" %s", inet_ntop(a->ai_family, address, text, sizeof text));
    }
    printf("\n");
  }
  return 0;
}
