package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/broker"
)

func TestCluster(t *testing.T) {
	_, c := redistest.Cluster(t)
	ctx := t.Context()
	ks := auth.Keyspace{Partitions: 16}
	k := NewKeeper(Config{Client: c, Keys: ks, Node: "n1"})
	known := apps{}
	var list []broker.Saved
	for i := range 250 {
		s := full(saved("c", "o"))
		s.Key.App = fmt.Sprint("app", i)
		known[s.Key.App] = s.AppCreated
		list = append(list, s)
	}
	for i, err := range k.Save(ctx, list) { // no server knows the script yet
		if !errors.Is(err, broker.ErrRemoved) {
			t.Errorf("save %d of what is not there: %v", i, err)
		}
	}
	for _, s := range list {
		if _, _, err := k.Open(ctx, s, false, 5); err != nil {
			t.Fatal(err)
		}
	}
	for i, err := range k.Save(ctx, list) {
		if err != nil {
			t.Errorf("save %d: %v", i, err)
		}
	}
	page, next, err := k.List(ctx, Query{Limit: 300})
	if err != nil || len(page) != len(list) || next != "" {
		t.Errorf("list: %d, %q, %v", len(page), next, err)
	}
	share := NewShare(c, ks)
	all := share.keys.streamsOf("#")
	_, err = share.Join(ctx, workers, all, []broker.Member{{Key: member("a"), Keep: time.Minute}}, func(broker.Stream) broker.Position { return at(1) })
	if err != nil {
		t.Errorf("join: %v", err)
	}
	for _, s := range all {
		if _, ok, err := share.Claim(ctx, workers, s, at(1), at(2), []broker.ID{id(2)}); err != nil || !ok {
			t.Errorf("claim %d: %v, %v", s, ok, err)
		}
	}
	known["ui"] = time.UnixMilli(workers.AppCreated)
	delete(known, "app7")
	w := NewWatch(WatchConfig{Client: c, Keys: ks, Apps: known, UplinksMax: 100})
	if err := errors.Join(w.sweep(ctx), w.look(ctx)); err != nil {
		t.Errorf("watch: %v", err)
	}
	if _, err := k.Get(ctx, "app7", "c"); !errors.Is(err, ErrUnknown) {
		t.Errorf("session of an app that is gone: %v", err)
	}
	if err := k.Remove(ctx, "app8", "c"); err != nil {
		t.Error(err)
	}
	if _, ok, err := share.Claim(ctx, workers, 47, at(2), at(3), nil); err != nil || !ok {
		t.Errorf("claim of what the watch has seen: %v, %v", ok, err)
	}
	if err := share.Leave(ctx, workers, all, member("a")); err != nil {
		t.Errorf("leave: %v", err)
	}
}
