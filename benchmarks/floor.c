/* What no program can do without: ask the kernel for every name below a split folder, and write as
   many bytes as the metadata has.

     floor <SPLIT FOLDER> <FILE> <BYTES>
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char names[1 << 20], block[1 << 20];

int main(int count, char **arguments)
{
    if (count != 4 || chdir(arguments[1]))
        return 1;
    long bytes = atol(arguments[3]), read = 0;
    DIR *split = opendir(".");
    for (struct dirent *class; (class = readdir(split));) {
        int folder = open(class->d_name, O_RDONLY | O_DIRECTORY);
        if (folder < 0 || class->d_name[0] == '.')
            continue;
        for (ssize_t got; (got = getdents64(folder, names, sizeof names)) > 0;)
            read += got;
        close(folder);
    }
    int out = open(arguments[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    memset(block, 1, sizeof block);
    for (long left = bytes; left > 0;) {
        ssize_t put = write(out, block, left < (long)sizeof block ? left : (long)sizeof block);
        if (put <= 0)
            return 1;
        left -= put;
    }
    return close(out) || read == 0;
}
