// Writes the inputs that fuzz_recipes starts from into a directory: a file with every key, and signatures of each form.
#include <fstream>
#include <string>

int main(int argc, char** argv) {
    if (argc != 2) {
        return 2;
    }
    const std::string seeds[] = {
        "[[resource]]\nkind = \"a\"\nobject = [\"liba.so*\", 'b']\nacquire = [\"f(parent, name, bytes, *id)\", \"g() -> id >= "
        "0\"]\n"
        "share = \"s(id)\"\ntouch = \"usdt:p:t(_, id)\"\nrelease = [\"r(id) == 0\"]\nmax_age = \"30s\"\nmax_idle = \"5m\"\n"
        "complete = true\nowned_by = \"user\"\n[[resource]]\nkind = 'b'\nacquire = 'usdt:p:a(name)'\nrelease = 'usdt:p:r()'\n",
        "pthread_create(*id, unless(8 & 0x1), _, _) == 0",
        "__call_tls_dtors() for self",
        "usdt:postgresql:sort__done(_, bytes)",
    };
    int number = 0;
    for (const auto& seed : seeds) {
        std::ofstream(std::string(argv[1]) + "/" + std::to_string(number++)) << seed;
    }
    return 0;
}
