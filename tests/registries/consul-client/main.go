// consul-client reads and writes a Consul catalog with Consul's own Go client. The tests let it judge their stand-in for
// Consul, and read what pod-registrar wrote. CONSUL_HTTP_ADDR and CONSUL_HTTP_TOKEN name the server and the token.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	consul "github.com/hashicorp/consul/api"
)

const usage = `usage: consul-client list NODE MARK   print the services of a node with this mark, as a JSON list
       consul-client check NODE       write, read and delete services, and fail if an answer is unexpected
`

func main() {
	client, err := consul.NewClient(consul.DefaultConfig())
	exit(err)
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "list":
		services, err := list(client, args[1], args[2])
		exit(err)
		exit(json.NewEncoder(os.Stdout).Encode(services))
	case len(args) == 2 && args[0] == "check":
		exit(check(client, args[1]))
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

func list(client *consul.Client, node, mark string) ([]*consul.AgentService, error) {
	filter := fmt.Sprintf("Meta[\"managed-by\"] == %q", mark)
	found, _, err := client.Catalog().NodeServiceList(node, &consul.QueryOptions{Filter: filter})
	if err != nil {
		return nil, err
	}
	return found.Services, nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "consul-client:", err)
		os.Exit(1)
	}
}
