package store

import (
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// patience of one step of one command: a device gets its 503 within a second.
const commandTimeout = 500 * time.Millisecond

// Connections of a client that does not block.
const poolSize, pipelinePool = 32, 8

// Connections is how many a node may have open at once to one server, at most.
func Connections(partitions int) int { return 2*(poolSize+pipelinePool) + 2*partitions + 64 }

// client is for all that answers at once.
func (t target) client() redis.UniversalClient {
	o := t.options()
	o.PoolSize = poolSize
	return t.connect(o)
}

// blocking is for commands that hold their connection. go-redis adds 10 s to
// the time of an XREAD BLOCK: give such a call a context with a deadline.
func (t target) blocking() redis.UniversalClient {
	o := t.options()
	// A bound only: connections are made when they are needed. Each of up to 4096
	// partitions has one for its streams, and on a cluster one for its registry.
	o.PoolSize = Connections(4096) - 2*(poolSize+pipelinePool)
	o.PipelinePoolSize = -1
	return t.connect(o)
}

func (t target) options() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: t.addrs, MasterName: t.master, DB: t.db, TLSConfig: t.tls,
		Username: t.user, Password: t.password,
		SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPassword,
		ClientName: "m2mbridge", DisableIdentity: true,
		Protocol: 3,

		// A command whose reply was lost may have been executed: sending it
		// again is for those who know that it may be.
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           commandTimeout,
		DialerRetries:         1,
		ReadTimeout:           commandTimeout,
		WriteTimeout:          commandTimeout,
		PoolTimeout:           commandTimeout,
		PipelinePoolSize:      pipelinePool,

		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

func (t target) connect(o *redis.UniversalOptions) redis.UniversalClient {
	switch t.form {
	case "sentinel":
		return redis.NewFailoverClient(o.Failover())
	case "cluster":
		return redis.NewClusterClient(o.Cluster())
	}
	return redis.NewClient(o.Simple())
}
