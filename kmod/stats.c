// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/towline/: `devices`, a line for each tracked device, and `latency`, two lines for
 * each: how many waited, or were copied, in less than so many microseconds. For eyes and bug reports.
 * A program asks by TOWLINE_IOC_STATUS. Nothing fails when debugfs is not there.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "device.h"
#include "stats.h"
#include "write.h"

static struct dentry *folder;

static void show_device(struct seq_file *file, struct tl_device *device)
{
	struct tl_writes_seen seen;

	tl_writes_look(device, &seen);
	seq_printf(file,
		   "%u:%u uuid=%pU epoch=%llu frozen=%d trust=%u block_kib=%u memory_kib=%llu",
		   MAJOR(device->number), MINOR(device->number), &device->uuid, device->sequence,
		   !!device->frozen, device->trust,
		   1U << (device->block_shift + SECTOR_SHIFT - 10), tl_device_memory(device) >> 10);
	seq_printf(file, " writes=%llu kib=%llu discards=%llu in_flight=%u oldest_ms=%u",
		   seen.writes, seen.sectors / 2, seen.discards, seen.count, seen.oldest_ms);
	seq_printf(file, " held=%u deferred=%llu copy_waits=%llu copies=%llu marked=%llu\n",
		   READ_ONCE(device->held_count), READ_ONCE(device->held_total),
		   READ_ONCE(device->copy_waits), READ_ONCE(device->copies),
		   tl_map_count(device->present, device->present->blocks));
}

static void show_latency(struct seq_file *file, const struct tl_device *device, const char *what,
			 const struct tl_latency *latency)
{
	unsigned int bucket;

	seq_printf(file, "%u:%u %s", MAJOR(device->number), MINOR(device->number), what);
	for (bucket = 0; bucket < TOWLINE_LATENCY_BUCKETS; bucket++) {
		u64 count = READ_ONCE(latency->counts[bucket]);

		if (count)
			seq_printf(file, " <%llu:%llu", 1ULL << bucket, count);
	}
	seq_putc(file, '\n');
}

static int devices_show(struct seq_file *file, void *unused)
{
	struct tl_device *device;

	mutex_lock(&tl_lock);
	list_for_each_entry(device, &tl_devices, list)
		show_device(file, device);
	mutex_unlock(&tl_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devices);

static int latency_show(struct seq_file *file, void *unused)
{
	struct tl_device *device;

	mutex_lock(&tl_lock);
	list_for_each_entry(device, &tl_devices, list) {
		show_latency(file, device, "held_us", &device->waits.latency);
		show_latency(file, device, "copy_us", &device->copy_times);
	}
	mutex_unlock(&tl_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(latency);

void tl_stats_init(void)
{
	folder = debugfs_create_dir("towline", NULL);
	debugfs_create_file("devices", 0400, folder, NULL, &devices_fops);
	debugfs_create_file("latency", 0400, folder, NULL, &latency_fops);
}

/* Waits for readers. */
void tl_stats_exit(void)
{
	debugfs_remove_recursive(folder);
}
