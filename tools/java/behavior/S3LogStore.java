package behavior;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * Delta's log on S3 for any number of drivers: a commit is put with If-None-Match, so the store itself refuses the
 * second of two. deltalake writes in the same way. Plain source, without generics' inference or lambdas: it is compiled
 * by the Janino that Spark ships, see tools/s3_jars.py.
 */
public class S3LogStore extends HadoopFileSystemLogStore {
  private static final String ONLY_NEW = "fs.option.create.conditional.overwrite";

  public S3LogStore(Configuration conf) {
    super(conf);
  }

  public void write(Path path, Iterator<String> actions, Boolean overwrite, Configuration conf) throws IOException {
    ByteArrayOutputStream text = new ByteArrayOutputStream();
    while (actions.hasNext()) {
      text.write((actions.next() + "\n").getBytes("UTF-8"));
    }
    byte[] content = text.toByteArray();
    FileSystem fs = path.getFileSystem(conf);
    try {
      put(fs, path, content, overwrite.booleanValue());
    } catch (RemoteFileChangedException refused) {
      // A request whose answer was lost is sent again, and then refused because of itself.
      if (!Arrays.equals(read(fs, path), content)) {
        throw new FileAlreadyExistsException(path.toString());
      }
    } catch (org.apache.hadoop.fs.FileAlreadyExistsException exists) {
      throw new FileAlreadyExistsException(path.toString());
    }
  }

  private void put(FileSystem fs, Path path, byte[] content, boolean overwrite) throws IOException {
    FSDataOutputStreamBuilder builder = (FSDataOutputStreamBuilder) fs.createFile(path);
    builder.overwrite(overwrite);
    if (!overwrite) {
      builder.must(ONLY_NEW, true);
    }
    FSDataOutputStream stream = (FSDataOutputStream) builder.build();
    boolean whole = false;
    try {
      stream.write(content);
      whole = true;
    } finally {
      if (!whole) {
        stream.abort();
      }
      stream.close();
    }
  }

  private byte[] read(FileSystem fs, Path path) throws IOException {
    FSDataInputStream stream = fs.open(path);
    try {
      return stream.readAllBytes();
    } finally {
      stream.close();
    }
  }

  public Boolean isPartialWriteVisible(Path path, Configuration conf) {
    return Boolean.FALSE;
  }
}
