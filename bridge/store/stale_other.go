//go:build unix && !linux

package store

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// worksIn tells whether pid is the server that answers on the socket in dir.
func worksIn(pid int, dir string) bool {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(dir, "redis.sock"), MaxRetries: -1, DialTimeout: commandTimeout, ReadTimeout: commandTimeout})
	defer c.Close()
	text, err := c.Info(context.Background(), "server").Result()
	return err == nil && strings.Contains(text, "process_id:"+strconv.Itoa(pid)+"\r\n")
}
