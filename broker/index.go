package broker

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// index finds the subscriptions of apps that match a topic: a trie of levels.
// Devices subscribe to one topic each and are found by their sessions.
//
// Locks are taken in this order: index, cache; index, group; group, session, conn.
type index struct {
	mu     sync.RWMutex
	root   *node
	roots  map[string]int // subscriptions by the first level of their filters
	groups map[ShareKey]*group

	cache sync.RWMutex // guards what follows, and found of each node
	// merged are the matches of topics that several filters match, whose subscribers
	// have to be merged; emptied with every change and when it is full.
	merged map[string]*match
}

const maxMerged = 4096

// node is one level of the filters.
type node struct {
	children map[string]*node
	subs     []*subscription // not shared ones
	groups   []*group
	found    *match // what subs and groups make when no other node matches; nil: not made yet
}

func (n *node) used() bool { return len(n.subs)+len(n.groups) > 0 }

// match is who gets a topic's messages. Immutable.
type match struct {
	targets []target
	groups  []*group
}

// target is one session and what its matching subscriptions together ask for.
type target struct {
	s      *session
	qos    byte
	retain bool // as published
	ids    []int
}

func (t *target) options(retain bool) options {
	return options{version: t.s.version, qos: t.qos, retain: retain && t.retain, ids: t.ids}
}

func newIndex() index {
	return index{root: &node{}, roots: map[string]int{}, groups: map[ShareKey]*group{}, merged: map[string]*match{}}
}

// wants: see Broker.Wants.
func (x *index) wants(prefix string) bool {
	top, _, _ := strings.Cut(prefix, "/")
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.roots[top]+x.roots["#"]+x.roots["+"] > 0
}

// match gives the subscribers of a topic; nil when there are none.
func (x *index) match(topic string) *match {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var buf [16]*node
	nodes := x.root.walk(topic, true, buf[:0])
	if len(nodes) == 0 {
		return nil
	}
	x.cache.RLock()
	m := nodes[0].found
	if len(nodes) > 1 {
		m = x.merged[topic]
	}
	x.cache.RUnlock()
	if m == nil {
		m = merge(nodes)
		x.remember(topic, nodes, m)
	}
	return m
}

func (x *index) remember(topic string, nodes []*node, m *match) {
	x.cache.Lock()
	defer x.cache.Unlock()
	if len(nodes) == 1 {
		nodes[0].found = m
		return
	}
	if len(x.merged) >= maxMerged {
		clear(x.merged)
	}
	x.merged[topic] = m
}

// walk collects the nodes below n whose filters match the rest of a topic.
func (n *node) walk(rest string, more bool, found []*node) []*node {
	if hash := n.children["#"]; hash != nil && hash.used() { // its parent's level too (MQTT 5 §4.7.1.2)
		found = append(found, hash)
	}
	if !more {
		if n.used() {
			found = append(found, n)
		}
		return found
	}
	level, rest, more := strings.Cut(rest, "/")
	if next := n.children[level]; next != nil {
		found = next.walk(rest, more, found)
	}
	if plus := n.children["+"]; plus != nil {
		found = plus.walk(rest, more, found)
	}
	return found
}

// merge gives each session one copy, at its best QoS, for all that match [MQTT-3.3.4-2] [MQTT-3.3.4-3].
func merge(nodes []*node) *match {
	m := &match{}
	at := map[*session]int{}
	for _, n := range nodes {
		for _, sub := range n.subs {
			i, ok := at[sub.s]
			if !ok {
				i = len(m.targets)
				at[sub.s] = i
				m.targets = append(m.targets, target{s: sub.s})
			}
			m.targets[i].add(sub)
		}
		m.groups = append(m.groups, n.groups...)
	}
	return m
}

func (t *target) add(sub *subscription) {
	t.qos = max(t.qos, sub.qos)
	t.retain = t.retain || sub.retained(sub.s.version)
	t.ids = append(t.ids, sub.ids()...)
	slices.Sort(t.ids)
}

// replace takes old out and puts sub in, either of which may be nil, between
// two messages: with both, none is missed or doubled. An old one that is not
// there any more is no matter.
func (x *index) replace(old, sub *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cache.Lock()
	defer x.cache.Unlock()
	clear(x.merged)
	if old != nil && sub != nil && old.swap(sub) {
		return
	}
	if old != nil {
		x.root.change(old.inner, true, func(n *node) { x.take(n, old) })
	}
	if sub != nil {
		x.root.change(sub.inner, true, func(n *node) { x.put(n, sub) })
	}
}

// swap puts sub in old's place in a group, which keeps what waits and who has
// what: between leaving and coming the last member's would be lost.
func (old *subscription) swap(sub *subscription) bool {
	if !old.shared || !sub.shared || old.shareKey() != sub.shareKey() {
		return false
	}
	g := old.group.Load()
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.members, old)
	if i < 0 {
		return false
	}
	sub.group.Store(g)
	g.members[i] = sub
	return true
}

func (x *index) put(n *node, sub *subscription) {
	x.count(sub, 1)
	if !sub.shared {
		n.subs = append(n.subs, sub)
		return
	}
	k := sub.shareKey()
	g := x.groups[k]
	if g == nil {
		g = newGroup(sub.s.b, k)
		x.groups[k] = g
		n.groups = append(n.groups, g)
	}
	sub.group.Store(g)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, sub)
}

func (x *index) take(n *node, old *subscription) {
	if !old.shared {
		if i := slices.Index(n.subs, old); i >= 0 {
			n.subs = slices.Delete(slices.Clone(n.subs), i, i+1)
			x.count(old, -1)
		}
		return
	}
	g := old.group.Load()
	if g == nil { // not put yet
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.members, old)
	if i < 0 {
		return
	}
	x.count(old, -1)
	g.members = slices.Delete(g.members, i, i+1)
	if len(g.members) == 0 {
		delete(x.groups, old.shareKey())
		n.groups = slices.DeleteFunc(n.groups, func(other *group) bool { return other == g })
	}
}

// maxShares bounds the shared subscriptions that the sessions of one app have
// on a node: each is kept alive by itself.
const maxShares = 200

// shares is how many others an app has; none if there is this one.
func (x *index) shares(of ShareKey) (n int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.groups[of] != nil {
		return 0
	}
	for k := range x.groups {
		if k.App == of.App {
			n++
		}
	}
	return n
}

// allGroups are those with members here.
func (x *index) allGroups() []*group {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Values(x.groups))
}

func (x *index) count(sub *subscription, by int) {
	top, _, _ := strings.Cut(sub.inner, "/")
	if x.roots[top] += by; x.roots[top] == 0 {
		delete(x.roots, top)
	}
	sub.s.b.count.subscriptions.Add(int64(by))
}

// change runs f on the node of a filter, made if it is missing, and drops it when it is left empty.
func (n *node) change(rest string, more bool, f func(*node)) {
	n.found = nil
	if !more {
		f(n)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	next := n.children[level]
	if next == nil {
		next = &node{}
		if n.children == nil {
			n.children = map[string]*node{}
		}
		n.children[level] = next
	}
	next.change(rest, more, f)
	if !next.used() && len(next.children) == 0 {
		delete(n.children, level)
	}
}
