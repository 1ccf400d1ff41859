// Package topology makes and changes the streams that the router works on, changes the
// number of partitions while workers run, and repairs what workers cannot know.
package topology
