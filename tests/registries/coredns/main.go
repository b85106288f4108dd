// coredns is the CoreDNS server with the plugins that serve names from etcd. All plugins would take minutes to build.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/etcd"
	_ "github.com/coredns/coredns/plugin/log"

	"github.com/coredns/coredns/coremain"

	"podregistrar.test/registries/lifetime"
)

func main() {
	lifetime.EndWithInput()
	coremain.Run()
}
