package behavior;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.CopyOption;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.OpenOption;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.util.Iterator;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;

/**
 * Delta's log in a folder of this machine for any number of processes: a commit is written beside its place and then
 * linked there. The kernel refuses a link to a name that exists, so of two commits with one number one is refused,
 * whoever writes them; deltalake links, too. Delta's own stores look whether the name is there, and then rename over it.
 * What is written over, such as the note of the newest checkpoint, is renamed into its place, so that a reader in another
 * process finds the old or the new; Delta's own stores empty the file first.
 * Plain source for the Janino that Spark ships, see tools/log_stores.py.
 */
public class LocalLogStore extends HadoopFileSystemLogStore {
  public LocalLogStore(Configuration conf) {
    super(conf);
  }

  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration conf) throws IOException {
    java.nio.file.Path place = Paths.get(path.toUri().getPath(), new String[0]);
    java.nio.file.Path draft = place.resolveSibling("." + place.getFileName() + "." + UUID.randomUUID() + ".tmp");
    try {
      BufferedWriter writer = Files.newBufferedWriter(draft, StandardCharsets.UTF_8, new OpenOption[0]);
      try {
        while (actions.hasNext()) {
          writer.write((String) actions.next());
          writer.write('\n');
        }
      } finally {
        writer.close();
      }
      if (overwrite.booleanValue()) {
        Files.deleteIfExists(place.resolveSibling("." + place.getFileName() + ".crc")); // Hadoop's, of what was there
        Files.move(draft, place, new CopyOption[] {StandardCopyOption.ATOMIC_MOVE});
      } else {
        Files.createLink(place, draft);
      }
    } catch (FileAlreadyExistsException refused) {
      throw new FileAlreadyExistsException(path.toString());
    } finally {
      Files.deleteIfExists(draft);
    }
  }

  /** It is in a folder: told so, Delta writes checkpoints beside their places, too, and renames them. */
  public Boolean isPartialWriteVisible(Path path, Configuration conf) {
    return Boolean.TRUE;
  }
}
