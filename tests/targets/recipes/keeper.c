// Uses SQLite, OpenSSL and threads, rightly; with --keep it also keeps one thing of each: a statement that is never finalized, an SSL that is
// never freed, a thread that nobody joins. SQLite is loaded after "go", and used when another line has been read.
#include <dlfcn.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "truth.h"

enum { kRounds = 20 };

static int keeps;

// ---- SQLite ----------------------------------------------------------------------------------------------------------------------

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_blob sqlite3_blob;

static struct {
    int (*open)(const char*, sqlite3**);
    int (*close)(sqlite3*);
    int (*close_v2)(sqlite3*);
    int (*prepare)(sqlite3*, const char*, int, sqlite3_stmt**, const char**);
    int (*step)(sqlite3_stmt*);
    int (*finalize)(sqlite3_stmt*);
    int (*blob_open)(sqlite3*, const char*, const char*, const char*, long long, int, sqlite3_blob**);
    int (*blob_close)(sqlite3_blob*);
} sqlite;

static void load_sqlite(const char* path) {
    void* library = dlopen(path, RTLD_NOW);
    truth_check(library != NULL, "dlopen");
    *(void**)&sqlite.open = dlsym(library, "sqlite3_open");
    *(void**)&sqlite.close = dlsym(library, "sqlite3_close");
    *(void**)&sqlite.close_v2 = dlsym(library, "sqlite3_close_v2");
    *(void**)&sqlite.prepare = dlsym(library, "sqlite3_prepare_v2");
    *(void**)&sqlite.step = dlsym(library, "sqlite3_step");
    *(void**)&sqlite.finalize = dlsym(library, "sqlite3_finalize");
    *(void**)&sqlite.blob_open = dlsym(library, "sqlite3_blob_open");
    *(void**)&sqlite.blob_close = dlsym(library, "sqlite3_blob_close");
}

static LEAKING sqlite3_stmt* prepare_statement(sqlite3* database, const char* sql) {
    sqlite3_stmt* statement = NULL;
    sqlite.prepare(database, sql, -1, &statement, NULL);
    return truth_escape(statement);
}

static void execute(sqlite3* database, const char* sql) {
    sqlite3_stmt* statement = prepare_statement(database, sql);
    truth_check(statement != NULL, "sqlite3_prepare_v2");
    sqlite.step(statement);
    sqlite.finalize(statement);
}

static LEAKING void keep_statement(sqlite3* database) {
    truth_escape(prepare_statement(database, "select kept from t"));
}

static void use_sqlite(void) {
    sqlite3* database = NULL;
    sqlite3_blob* blob = NULL;
    truth_check(sqlite.open(":memory:", &database) == 0, "sqlite3_open");
    execute(database, "create table t(kept)");
    execute(database, "insert into t values('a blob')");
    for (int i = 0; i < kRounds; i++) {
        execute(database, "select * from t");
        truth_check(prepare_statement(database, "no sql at all") == NULL, "an error of syntax");
        truth_check(sqlite.blob_open(database, "main", "t", "kept", 1, 0, &blob) == 0, "sqlite3_blob_open");
        sqlite.blob_close(blob);
    }
    sqlite.finalize(NULL);
    if (keeps) {
        keep_statement(database);
        truth_check(sqlite.close(database) != 0, "a statement keeps its connection");
        truth_check(sqlite.close_v2(database) == 0, "sqlite3_close_v2");
    } else {
        truth_check(sqlite.close(database) == 0, "sqlite3_close");
    }
}

// ---- OpenSSL ---------------------------------------------------------------------------------------------------------------------

static SSL_CTX* context;

static LEAKING SSL* begin_connection(void) {
    SSL* ssl = SSL_new(context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    return truth_escape(ssl);
}

static void* serve(void* keep) {
    SSL* ssl = begin_connection();
    SSL_up_ref(ssl);
    SSL_free(ssl);
    if (!keep) {
        SSL_free(ssl);
    }
    return NULL;
}

static void serve_in_thread(int keep) {
    pthread_t thread;
    truth_check(pthread_create(&thread, NULL, serve, keep ? &keeps : NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
}

static void use_openssl(void) {
    context = SSL_CTX_new(TLS_method());
    for (int i = 0; i < kRounds; i++) {
        serve_in_thread(0);
    }
    if (keeps) {
        serve_in_thread(1);
    }
    for (int i = 0; i < kRounds; i++) {
        EVP_MD_CTX_free(EVP_MD_CTX_new());
        EVP_CIPHER_CTX_free(EVP_CIPHER_CTX_new());
    }
    SSL_free(NULL);
    SSL_CTX_free(context);
}

// ---- threads ---------------------------------------------------------------------------------------------------------------------

static void* work(void* pipe_end) {
    char byte;
    if (pipe_end) { // until the creator has returned from pthread_create
        truth_check(read(*(int*)pipe_end, &byte, 1) == 1, "read");
    }
    return NULL;
}

static void* detach_itself(void* unused) {
    (void)unused;
    pthread_detach(pthread_self());
    return NULL;
}

static LEAKING void keep_thread(const int* ends) {
    pthread_t thread;
    truth_check(pthread_create(&thread, NULL, work, (void*)&ends[0]) == 0, "pthread_create");
    truth_check(write(ends[1], "x", 1) == 1, "write");
}

static void use_threads(void) {
    int ends[2];
    pthread_attr_t detached;
    pthread_t thread;
    truth_check(pipe(ends) == 0, "pipe");
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < kRounds; i++) {
        truth_check(pthread_create(&thread, NULL, work, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
        truth_check(pthread_create(&thread, &detached, work, NULL) == 0, "pthread_create, detached");
        truth_check(pthread_create(&thread, NULL, detach_itself, NULL) == 0, "pthread_create");
        truth_check(pthread_create(&thread, NULL, work, NULL) == 0, "pthread_create");
        pthread_detach(thread);
    }
    if (keeps) {
        keep_thread(ends);
    }
}

int main(int argc, char** argv) {
    char line[64];
    keeps = truth_flag(argc, argv, "--keep");
    truth_ready(argc, argv);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--sqlite")) {
            load_sqlite(argv[i + 1]);
            truth_read_line(line, sizeof(line));
            use_sqlite();
        } else if (!strcmp(argv[i], "--openssl")) {
            use_openssl();
        } else if (!strcmp(argv[i], "--threads")) {
            use_threads();
        }
    }
    truth_finish(TRUTH_SITES);
}
