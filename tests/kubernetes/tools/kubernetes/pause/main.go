// Command pause holds a pod's sandbox open. With words it prints them and ends well, as a Job without a real image does.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println(strings.Join(os.Args[1:], " "))
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM) // process 1 of a container gets no default handlers
	<-end
}
