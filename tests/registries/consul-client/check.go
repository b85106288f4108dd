package main

import (
	"fmt"
	"strings"

	consul "github.com/hashicorp/consul/api"
)

const mark = "consul-client"

type step struct {
	name string
	run  func(*consul.Client, string) error
}

// The steps share one catalog, in this order.
var steps = []step{
	{"an unknown node has no services", expectServices()},
	{"a transaction needs the node", expectRefused("Missing node registration", 0, set("a", "web"))},
	{"register the node", registerNode},
	{"a transaction writes services", expectApplied(2, set("a", "web"), set("b", "web"))},
	{"the list is filtered", expectServices("a", "b")},
	{"a transaction is atomic", expectRefused("service name", 1, set("c", "web"), remove("a", ""))},
	{"a name cannot change in a transaction", expectRefused("does not match", 0, set("a", "other"))},
	{"a name can change by registration", register("a", "other")},
	{"nothing was written by refused transactions", expectServices("a", "b")},
	{"a transaction deletes by name and id", expectApplied(0, remove("b", "web"), remove("none", "web"))},
	{"129 operations are too many", expectTooMany},
	{"deregister", deregister("a")},
	{"deregister what is absent", deregister("a")},
	{"the node is empty", expectServices()},
}

func check(client *consul.Client, node string) error {
	for _, step := range steps {
		if err := step.run(client, node); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("ok:", step.name)
	}
	return nil
}

func service(id, name string) consul.AgentService {
	return consul.AgentService{
		ID: id, Service: name, Address: "10.0.0.1", Meta: map[string]string{"managed-by": mark},
		Weights: consul.AgentWeights{Passing: 1, Warning: 1},
	}
}

func set(id, name string) *consul.ServiceTxnOp {
	return &consul.ServiceTxnOp{Verb: consul.ServiceSet, Service: service(id, name)}
}

func remove(id, name string) *consul.ServiceTxnOp {
	return &consul.ServiceTxnOp{Verb: consul.ServiceDelete, Service: consul.AgentService{ID: id, Service: name}}
}

func apply(client *consul.Client, node string, ops []*consul.ServiceTxnOp) (bool, *consul.TxnResponse, error) {
	var all consul.TxnOps
	for _, op := range ops {
		op.Node = node
		all = append(all, &consul.TxnOp{Service: op})
	}
	ok, answer, _, err := client.Txn().Txn(all, nil)
	return ok, answer, err
}

func expectApplied(results int, ops ...*consul.ServiceTxnOp) func(*consul.Client, string) error {
	return func(client *consul.Client, node string) error {
		ok, answer, err := apply(client, node, ops)
		if err != nil || !ok || len(answer.Results) != results {
			return fmt.Errorf("applied: %v, %+v, %v", ok, answer, err)
		}
		return nil
	}
}

func expectRefused(what string, index int, ops ...*consul.ServiceTxnOp) func(*consul.Client, string) error {
	return func(client *consul.Client, node string) error {
		ok, answer, err := apply(client, node, ops)
		if err != nil || ok || len(answer.Errors) != 1 {
			return fmt.Errorf("applied: %v, %+v, %v", ok, answer, err)
		}
		if failed := answer.Errors[0]; failed.OpIndex != index || !strings.Contains(failed.What, what) {
			return fmt.Errorf("%+v", failed)
		}
		return nil
	}
}

func expectServices(ids ...string) func(*consul.Client, string) error {
	return func(client *consul.Client, node string) error {
		found, err := list(client, node, mark)
		if err != nil {
			return err
		}
		has := map[string]bool{}
		for _, service := range found {
			has[service.ID] = true
		}
		for _, id := range ids {
			if !has[id] {
				return fmt.Errorf("%v, not %v", has, ids)
			}
		}
		if len(has) != len(ids) {
			return fmt.Errorf("%v, not %v", has, ids)
		}
		return nil
	}
}

func expectTooMany(client *consul.Client, node string) error {
	var ops []*consul.ServiceTxnOp
	for i := range 129 {
		ops = append(ops, set(fmt.Sprint("many-", i), "web"))
	}
	_, _, err := apply(client, node, ops)
	if err == nil || !strings.Contains(err.Error(), "too many operations") {
		return fmt.Errorf("not refused: %v", err)
	}
	return nil
}

func registerNode(client *consul.Client, node string) error {
	_, err := client.Catalog().Register(&consul.CatalogRegistration{Node: node, Address: "127.0.0.1"}, nil)
	return err
}

func register(id, name string) func(*consul.Client, string) error {
	return func(client *consul.Client, node string) error {
		one := service(id, name)
		_, err := client.Catalog().Register(&consul.CatalogRegistration{Node: node, SkipNodeUpdate: true, Service: &one}, nil)
		return err
	}
}

func deregister(id string) func(*consul.Client, string) error {
	return func(client *consul.Client, node string) error {
		_, err := client.Catalog().Deregister(&consul.CatalogDeregistration{Node: node, ServiceID: id}, nil)
		return err
	}
}
