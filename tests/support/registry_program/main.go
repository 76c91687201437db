// A registry of the project distribution, with files and a password file, for tests on this machine.
//
// The project's own program brings drivers for the storage of all clouds, which take minutes to build.
//
//	registry CONFIG [USER PASSWORD]
//
// It prints the address on which it listens. With a user, it writes the password file of the configuration first.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	file, err := os.Open(os.Args[1])
	check(err)
	config, err := configuration.Parse(file)
	check(err)
	if len(os.Args) > 3 {
		hash, err := bcrypt.GenerateFromPassword([]byte(os.Args[3]), bcrypt.MinCost)
		check(err)
		path := config.Auth.Parameters()["path"].(string)
		check(os.WriteFile(path, []byte(os.Args[2]+":"+string(hash)+"\n"), 0o600))
	}
	app := handlers.NewApp(context.Background(), config)
	listener, err := net.Listen("tcp", config.HTTP.Addr)
	check(err)
	fmt.Println(listener.Addr())
	if certificate := config.HTTP.TLS.Certificate; certificate != "" {
		check(http.ServeTLS(listener, app, certificate, config.HTTP.TLS.Key))
	}
	check(http.Serve(listener, app))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
