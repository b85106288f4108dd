// etcd is the etcd server with its usual flags.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"podregistrar.test/registries/lifetime"
)

func main() {
	lifetime.EndWithInput()
	etcdmain.Main(os.Args)
}
